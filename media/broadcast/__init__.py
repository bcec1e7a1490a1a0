"""From packets to LL-HLS: depacketizers, mixer, encoder, fMP4, segments and playlists."""
