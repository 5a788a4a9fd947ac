"""HTTP+JSON on a Unix socket, and on loopback when asked for: what programs ask of the daemon.

Owns the routes, their status codes and the shapes of requests. Answers come from
`meshd.answers`; acts go through `Services`, and so through the inbox (R3). asyncio lives in
this package and in one thread; handlers that read the database run in worker threads.
"""
