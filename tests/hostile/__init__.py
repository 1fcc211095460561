"""Attacks, one module a case; docs/security.md says what each of them holds up."""
