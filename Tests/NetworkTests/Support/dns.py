# SPDX-License-Identifier: Apache-2.0
"""A name server with one answer: whatever is asked has the address 203.0.113.99.

    dns.py ADDRESS PORT
"""
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
end = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
end.bind((address, port))
print("ready", flush=True)
while True:
    query, source = end.recvfrom(4096)
    question_end = 12
    while question_end < len(query) and query[question_end]:
        question_end += query[question_end] + 1
    question = query[12:question_end + 5]
    header = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
    answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04" + socket.inet_aton("203.0.113.99")
    end.sendto(header + question + answer, source)
