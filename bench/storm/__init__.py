"""Storms: what the flood of one caller, or a stranger, costs an honest caller. `make storm`.

Each storm runs real gateways on loopback, measures an honest caller alone and then beside the
attack, and checks the promises of its row. Linux only: it reads /proc.

storm          a storm: its attack, its gateways, what is promised
layouts        the gateways of a storm: one process, two workers, two nodes with Redis
provider       the honest caller's provider, which counts what it would charge for
honest         the honest caller
attacker       the attacker's clients
attacker_process  the attacker in a process of its own: its clients and its provider
measure        one storm, measured
report         verdicts, and the table in docs/reliability.md
resolver       a gateway whose name servers do not answer for some names

storms         all storms. Their modules: headers, unfolding, records, names, drawing, unread
"""
