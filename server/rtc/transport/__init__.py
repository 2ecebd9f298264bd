"""ICE and DTLS for peers that aioice and OpenSSL do not get along with."""
