"""Image requests: walk the plan's targets, converse, deliver."""
