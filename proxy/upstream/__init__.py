"""The only code that talks to providers: dials, signs, sends, drives a flow, downloads."""
