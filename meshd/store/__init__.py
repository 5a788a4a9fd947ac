"""The database: derived from the manifests, rebuilt from them when it is lost (R1).

One thread writes (R6); readers have connections of their own. Nothing here touches a root.
"""
