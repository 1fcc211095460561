"""What the gateway answers to a fixed list of requests, compared with recorded files.

`requests` lists the requests, `provider` is the scripted provider behind the gateway, `session`
sends them all to one gateway process, `text` writes what came as reviewable text, and `volatile`
replaces what differs from run to run. `recorded/` holds one file a request and the metrics page.

Nothing here imports `proxy` or `adapters`: the gateway is a process, seen from outside.
`make golden` records the files again; look at the difference before you commit it.
"""
