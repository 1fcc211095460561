"""Jobs: image requests that are fulfilled whether or not somebody is still listening.

tape holds what a job answers; shelf holds all tapes within bounds; registry knows whose job is
which; handover leaves finished ones to the next process; staging gives a handler a request whose
answer goes onto a tape; answering answers with a job, and asking does so later.
"""
