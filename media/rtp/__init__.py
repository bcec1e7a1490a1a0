"""RTP: sequence numbers, header columns, caches, loss, clocks, codecs."""
