"""From packets to LL-HLS: what a broadcast worker is made of, and the node's side of it.

``feed.BroadcastFeed`` is all that a media node uses; ``worker`` is the process behind it.
"""
