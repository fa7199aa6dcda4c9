// SPDX-License-Identifier: Apache-2.0
// Many nodes in one process, each with a key of its own: they log in, answer PING, and come back as agents do when the relay goes.
//
//   nodes PORT COUNT SOURCES EXPOSE     COUNT nodes from SOURCES addresses of loopback; EXPOSE 1: each asks for a port
//
// Prints what the relay's registry has to know of each (the SHA-256 of its public key) and "ready"; begins with the first line of
// standard input, ends with its end, and prints ten times a second how it stands.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INITIAL_BACKOFF 0.5
#define LONGEST_BACKOFF 30.0
#define PATIENCE 15.0
#define RECEIVED_MAX 4096

enum state { WAITING, CONNECTING, SHAKING, INTRODUCED, ACTIVE };
enum { HELLO = 1, WELCOME = 2, PING = 3, PONG = 4, GOAWAY = 5, EXPOSE = 12, EXPOSED = 13 };

struct node {
  EVP_PKEY *key;
  X509 *certificate;
  SSL *tls;
  int descriptor;
  enum state state;
  double due, backoff;
  bool has_port;
  uint8_t received[RECEIVED_MAX];
  size_t count;
};

static struct sockaddr_in relay = {.sin_family = AF_INET};
static int sources, queue;
static bool exposes;
static SSL_CTX *context;
static struct node *nodes;
static int count;
static uint64_t tries, cut, goodbyes;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void require(bool condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  ERR_print_errors_fp(stderr);
  exit(1);
}

static void make_key(struct node *node) {
  node->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
  require(node->key != NULL, "key");
  node->certificate = X509_new();
  X509_set_version(node->certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(node->certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(node->certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(node->certificate), 3600 * 24);
  X509_set_pubkey(node->certificate, node->key);
  X509_NAME *name = X509_get_subject_name(node->certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"node", -1, -1, 0);
  X509_set_issuer_name(node->certificate, name);
  require(X509_sign(node->certificate, node->key, NULL) > 0, "certificate");
  uint8_t *der = NULL, digest[32];
  int length = i2d_PUBKEY(node->key, &der);
  require(length > 0 && EVP_Digest(der, (size_t)length, digest, NULL, EVP_sha256(), NULL) == 1, "digest");
  for (int index = 0; index < 32; index++) printf("%02x", digest[index]);
  printf("\n");
  OPENSSL_free(der);
}

// Frames

static size_t put16(uint8_t *bytes, uint32_t value) { return bytes[0] = (uint8_t)(value >> 8), bytes[1] = (uint8_t)value, 2; }
static size_t put32(uint8_t *bytes, uint32_t value) { return put16(bytes, value >> 16) + put16(bytes + 2, value & 0xFFFF); }

static void send_frame(struct node *node, uint8_t type, const uint8_t *payload, size_t length) {
  uint8_t frame[256] = {type, 0};
  put16(frame + 2, (uint32_t)length);
  memcpy(frame + 8, payload, length);
  SSL_write(node->tls, frame, (int)length + 8);
}

static void say_hello(struct node *node) {
  uint8_t payload[64];
  size_t at = put16(payload, 1);
  at += put32(payload + at, 0);
  at += put16(payload + at, 4);
  memcpy(payload + at, "many", 4), at += 4;
  memset(payload + at, 0, 3), at += 3;
  at += put32(payload + at, 1000);
  at += put32(payload + at, 0), at += put32(payload + at, 65536);
  send_frame(node, HELLO, payload, at);
}

static void ask_for_port(struct node *node) {
  uint8_t payload[16];
  size_t at = put32(payload, 1);
  payload[at++] = 1;
  at += put16(payload + at, 0), at += put16(payload + at, 1);
  payload[at++] = 's';
  send_frame(node, EXPOSE, payload, at);
}

// Connections

/// The connection is over; the next try comes as late as an agent's does.
static void lose(struct node *node) {
  if (node->tls) SSL_free(node->tls);
  if (node->descriptor >= 0) close(node->descriptor);
  if (node->state == ACTIVE) node->backoff = INITIAL_BACKOFF;
  node->tls = NULL, node->descriptor = -1, node->count = 0, node->has_port = false;
  node->state = WAITING;
  node->due = now() + node->backoff * (0.5 + drand48() / 2);
  node->backoff = node->backoff * 2 < LONGEST_BACKOFF ? node->backoff * 2 : LONGEST_BACKOFF;
}

static void begin(struct node *node, int index) {
  tries++;
  int one = 1;
  node->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  require(node->descriptor >= 0, "socket");
  int source = index % sources;
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F010001u + (uint32_t)(source / 250 * 256 + source % 250))};
  setsockopt(node->descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  setsockopt(node->descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  node->state = CONNECTING, node->due = now() + PATIENCE;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)index};
  bool works = bind(node->descriptor, (struct sockaddr *)&from, sizeof from) == 0 &&
               (connect(node->descriptor, (struct sockaddr *)&relay, sizeof relay) == 0 || errno == EINPROGRESS);
  if (!works || epoll_ctl(queue, EPOLL_CTL_ADD, node->descriptor, &event) != 0) lose(node);
}

static void receive(struct node *node, uint8_t type, const uint8_t *payload, size_t length) {
  if (type == WELCOME) {
    node->state = ACTIVE;
    if (exposes) ask_for_port(node);
  }
  if (type == EXPOSED) node->has_port = payload[4] || payload[5];
  if (type == PING) send_frame(node, PONG, payload, length);
  if (type == GOAWAY) goodbyes++;
}

/// Whether the connection lives.
static bool read_frames(struct node *node) {
  while (true) {
    int step = SSL_read(node->tls, node->received + node->count, (int)(RECEIVED_MAX - node->count));
    if (step <= 0) return SSL_get_error(node->tls, step) == SSL_ERROR_WANT_READ;
    node->count += (size_t)step;
    size_t start = 0;
    while (node->count - start >= 8) {
      const uint8_t *frame = node->received + start;
      size_t length = (size_t)frame[2] << 8 | frame[3];
      if (node->count - start < 8 + length) break;
      receive(node, frame[0], frame + 8, length);
      start += 8 + length;
    }
    memmove(node->received, node->received + start, node->count -= start);
    if (node->count == RECEIVED_MAX) return false;
  }
}

static bool advance(struct node *node) {
  if (node->state == CONNECTING) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(node->descriptor, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return false;
    node->tls = SSL_new(context);
    SSL_use_certificate(node->tls, node->certificate);
    SSL_use_PrivateKey(node->tls, node->key);
    SSL_set_fd(node->tls, node->descriptor);
    SSL_set_connect_state(node->tls);
    node->state = SHAKING;
  }
  if (node->state == SHAKING) {
    ERR_clear_error();
    int step = SSL_do_handshake(node->tls);
    if (step != 1) {
      int error = SSL_get_error(node->tls, step);
      return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    }
    say_hello(node);
    node->state = INTRODUCED;
  }
  ERR_clear_error();
  return read_frames(node);
}

static void look_after_time(void) {
  double time = now();
  for (int index = 0; index < count; index++) {
    struct node *node = &nodes[index];
    if (node->state == ACTIVE || node->due > time) continue;
    if (node->state == WAITING) begin(node, index);
    else cut++, lose(node);
  }
}

static void tell(void) {
  int active = 0, ports = 0;
  for (int index = 0; index < count; index++) {
    if (nodes[index].state == ACTIVE) active++;
    if (nodes[index].has_port) ports++;
  }
  printf("%d %d %lu %lu %lu\n", active, ports, (unsigned long)tries, (unsigned long)cut, (unsigned long)goodbyes);
  fflush(stdout);
}

int main(int argc, char **argv) {
  require(argc == 5, "usage");
  relay.sin_port = htons((uint16_t)atoi(argv[1])), relay.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  count = atoi(argv[2]), sources = atoi(argv[3]), exposes = atoi(argv[4]) != 0;
  srand48(count);
  signal(SIGPIPE, SIG_IGN);
  context = SSL_CTX_new(TLS_client_method());
  require(context != NULL, "context");
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_protos(context, (const uint8_t *)"\x08natfwt/1", 9);
  nodes = calloc((size_t)count, sizeof *nodes);
  queue = epoll_create1(EPOLL_CLOEXEC);
  require(nodes != NULL && queue >= 0, "memory");
  for (int index = 0; index < count; index++) {
    nodes[index].descriptor = -1, nodes[index].backoff = INITIAL_BACKOFF;
    make_key(&nodes[index]);
  }
  printf("ready\n");
  fflush(stdout);
  require(getchar() >= 0, "no start");
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  double told = 0;
  char rest[16];
  while (read(STDIN_FILENO, rest, sizeof rest) != 0) {
    struct epoll_event events[256];
    int found = epoll_wait(queue, events, 256, 20);
    for (int index = 0; index < found; index++) {
      struct node *node = &nodes[events[index].data.u32];
      if (node->state != WAITING && !advance(node)) lose(node);
    }
    look_after_time();
    if (now() - told >= 0.1) told = now(), tell();
  }
  return 0;
}
