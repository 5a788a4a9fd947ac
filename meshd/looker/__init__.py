"""The looker: all access to one root.

Owns walking a root, looking at projects in it and checking its health, in this process or in
one of its own. Knows neither the database nor the inbox. Promises that no descriptor into a
root outlives a call.
"""
