"""One UDP port: datagram batches, ICE-lite, the DTLS seam, SRTP."""
