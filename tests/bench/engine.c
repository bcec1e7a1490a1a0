/* Packet engine of the load generator: counts received RTP in bulk without decrypting it, and sends
 * ready-made SRTP packets at their due time. engine.py builds it on first use and is its only caller.
 *
 * Receive:  one thread, epoll + recvmmsg, kernel receive timestamps. RTP is counted here. Everything
 *           else (STUN, DTLS, and RTCP where asked) goes into a ring that Python drains, so that
 *           consent checks and handshakes are answered by aioice and aiortc.
 * Transmit: one thread. Python queues encrypted packets with a deadline; the time is logged per
 *           packet id right before sendto().
 *
 * Sockets are added from one Python thread only. Counters are written by one thread each and read
 * racily: they are read for good only while nothing is in flight.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAX_SOCKETS 8192
#define MAX_SOURCES 8     /* synchronization sources told apart per socket */
#define BATCH 32          /* datagrams per recvmmsg */
#define MAX_DATAGRAM 2048 /* longer ones are cut; all of ours fit an Ethernet MTU */
#define RING 16384        /* control datagrams waiting for Python; more are dropped and counted */

static uint64_t now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- receive ------------------------------------------------------------------------------- */
struct source { uint32_t ssrc, max_seq, cycles; uint64_t received; };
struct receiver {
    int fd, live, capture, pass_rtcp;
    uint32_t min_bytes;
    uint64_t media, other_rtp, rtcp, control, first_ns;
    int source_count;
    struct source sources[MAX_SOURCES];
};
static struct receiver *receivers;
static volatile int receiver_count;
static int epoll_fd = -1, event_fd = -1;
static volatile int receiving, nap_us;
static pthread_t receive_thread;

struct control { int32_t index; uint32_t ip; uint16_t port, bytes; unsigned char data[MAX_DATAGRAM]; };
static struct control *ring;
static volatile uint32_t ring_head, ring_tail;
static uint64_t ring_dropped;

/* Captured datagrams, one after the other: u32 index, u32 bytes, u64 arrival ns, the bytes. */
static unsigned char *captured;
static uint64_t captured_bytes, captured_max;
static volatile int capturing = 1;

static void pass_on(int index, struct sockaddr_in *from, unsigned char *data, int bytes) {
    uint32_t head = ring_head;
    if (head - __atomic_load_n(&ring_tail, __ATOMIC_ACQUIRE) >= RING) { ring_dropped++; return; }
    struct control *c = &ring[head % RING];
    c->index = index;
    c->ip = from->sin_addr.s_addr;
    c->port = ntohs(from->sin_port);
    c->bytes = bytes > MAX_DATAGRAM ? MAX_DATAGRAM : bytes;
    memcpy(c->data, data, c->bytes);
    __atomic_store_n(&ring_head, head + 1, __ATOMIC_RELEASE);
    uint64_t one = 1;
    if (write(event_fd, &one, 8) < 0) { /* full counter: Python is awake already */ }
}

static void count_source(struct receiver *r, const unsigned char *data) {
    uint32_t seq = data[2] << 8 | data[3], ssrc;
    memcpy(&ssrc, data + 8, 4);
    ssrc = ntohl(ssrc);
    int k = 0;
    while (k < r->source_count && r->sources[k].ssrc != ssrc) k++;
    if (k == MAX_SOURCES) return;
    struct source *s = &r->sources[k];
    if (k == r->source_count) {
        s->ssrc = ssrc; s->max_seq = seq; s->cycles = 0; s->received = 0;
        r->source_count++;
    }
    uint16_t ahead = (uint16_t)(seq - s->max_seq);
    if (ahead && ahead < 0x8000) {
        if (seq < s->max_seq) s->cycles += 65536;
        s->max_seq = seq;
    }
    s->received++;
}

/* RFC 7983 tells the kinds apart by the first byte; RFC 5761 RTCP from RTP by the second. */
static void one_datagram(int index, unsigned char *data, int bytes, struct sockaddr_in *from, uint64_t arrival_ns) {
    struct receiver *r = &receivers[index];
    if (bytes < 2) return;
    if (data[0] < 128 || data[0] > 191) { r->control++; pass_on(index, from, data, bytes); return; }
    int type = data[1] & 0x7f;
    if (type >= 64 && type <= 95) {
        r->rtcp++;
        if (r->pass_rtcp) pass_on(index, from, data, bytes);
        return;
    }
    if (bytes < 12) return;
    if ((uint32_t)bytes < r->min_bytes) r->other_rtp++;
    else {
        if (!r->first_ns) r->first_ns = arrival_ns;
        r->media++;
        count_source(r, data);
    }
    if (r->capture && capturing && captured_bytes + 16 + bytes <= captured_max) {
        uint32_t head[2] = {(uint32_t)index, (uint32_t)bytes};
        memcpy(captured + captured_bytes, head, 8);
        memcpy(captured + captured_bytes + 8, &arrival_ns, 8);
        memcpy(captured + captured_bytes + 16, data, bytes);
        __atomic_store_n(&captured_bytes, captured_bytes + 16 + bytes, __ATOMIC_RELEASE);
    }
}

static uint64_t kernel_time_ns(struct msghdr *h) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
        }
    return now_ns(CLOCK_REALTIME);
}

static void *receive_main(void *unused) {
    (void)unused;
    static unsigned char data[BATCH][MAX_DATAGRAM], ancillary[BATCH][128];
    struct mmsghdr m[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_in from[BATCH];
    struct epoll_event ready[512];
    memset(m, 0, sizeof m);
    while (receiving) {
        int n = epoll_wait(epoll_fd, ready, 512, 100);
        for (int e = 0; e < n; e++) {
            int index = ready[e].data.u32, got = BATCH;
            while (got == BATCH && receivers[index].live) {
                for (int k = 0; k < BATCH; k++) {
                    iov[k] = (struct iovec){data[k], MAX_DATAGRAM};
                    m[k].msg_hdr = (struct msghdr){.msg_name = &from[k], .msg_namelen = sizeof from[k],
                        .msg_iov = &iov[k], .msg_iovlen = 1,
                        .msg_control = ancillary[k], .msg_controllen = sizeof ancillary[k]};
                }
                got = recvmmsg(receivers[index].fd, m, BATCH, MSG_DONTWAIT, NULL);
                for (int k = 0; k < got; k++)
                    one_datagram(index, data[k], m[k].msg_len, &from[k], kernel_time_ns(&m[k].msg_hdr));
            }
        }
        if (nap_us) usleep(nap_us);
    }
    return NULL;
}

/* Returns the eventfd that says when control datagrams wait. */
int engine_open(uint64_t capture_bytes) {
    receivers = calloc(MAX_SOCKETS, sizeof *receivers);
    ring = malloc(sizeof *ring * RING);
    captured_max = capture_bytes;
    captured = malloc(capture_bytes ? capture_bytes : 1);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    receiving = 1;
    pthread_create(&receive_thread, NULL, receive_main, NULL);
    return event_fd;
}

/* RTP shorter than min_bytes is counted apart (padding, probes). Returns the index, or -1. */
int receiver_add(int fd, uint32_t min_bytes, int capture, int pass_rtcp) {
    if (receiver_count >= MAX_SOCKETS) return -1;
    int index = receiver_count, one = 1, room = 8 << 20;
    struct receiver *r = &receivers[index];
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    r->fd = fd; r->min_bytes = min_bytes; r->capture = capture; r->pass_rtcp = pass_rtcp; r->live = 1;
    receiver_count++;
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -1 : index;
}
void receiver_remove(int index) {
    if (!receivers[index].live) return;
    receivers[index].live = 0;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, receivers[index].fd, NULL);
}
/* The receive thread sleeps this long between polls: fewer wake-ups beside the measured server. */
void receive_nap(int us) { nap_us = us; }
void capture_stop(void) { capturing = 0; }

/* out: media, other_rtp, rtcp, control, first_ns, source_count */
void receiver_counters(int index, uint64_t *out) {
    struct receiver *r = &receivers[index];
    out[0] = r->media; out[1] = r->other_rtp; out[2] = r->rtcp; out[3] = r->control;
    out[4] = r->first_ns; out[5] = r->source_count;
}
/* out, per source: ssrc, extended highest sequence number, received. Returns how many. */
int receiver_sources(int index, uint64_t *out) {
    struct receiver *r = &receivers[index];
    for (int k = 0; k < r->source_count; k++) {
        out[3 * k] = r->sources[k].ssrc;
        out[3 * k + 1] = (uint64_t)r->sources[k].cycles + r->sources[k].max_seq;
        out[3 * k + 2] = r->sources[k].received;
    }
    return r->source_count;
}
/* meta: index, ip (network order), port. Returns the length, or -1 when none waits. */
int control_pop(int32_t *meta, unsigned char *data) {
    uint32_t tail = ring_tail;
    if (tail == __atomic_load_n(&ring_head, __ATOMIC_ACQUIRE)) return -1;
    struct control *c = &ring[tail % RING];
    meta[0] = c->index; meta[1] = (int32_t)c->ip; meta[2] = c->port;
    int bytes = c->bytes;
    memcpy(data, c->data, bytes);
    __atomic_store_n(&ring_tail, tail + 1, __ATOMIC_RELEASE);
    return bytes;
}
uint64_t control_dropped(void) { return ring_dropped; }
unsigned char *capture_read(uint64_t *bytes) {
    *bytes = __atomic_load_n(&captured_bytes, __ATOMIC_ACQUIRE);
    return captured;
}

/* ---- transmit ------------------------------------------------------------------------------ */
#define QUEUE 1024
#define MAX_TRANSMITTERS 1024
#define MAX_PACKET 1600
#define LATE_BUCKETS 20 /* bucket b: below 2^b microseconds late */
struct packet { uint64_t due_ns; uint32_t id; uint16_t bytes; unsigned char data[MAX_PACKET]; };
struct transmitter {
    int fd;
    struct sockaddr_in to;
    struct packet *queue;
    volatile uint32_t head, tail;
    volatile uint64_t sent, errors;
};
static struct transmitter transmitters[MAX_TRANSMITTERS];
static volatile int transmitter_count, transmitting;
static pthread_t transmit_thread;
static int transmit_nice;
static uint64_t *sent_ns, sent_ids;
static uint64_t late_count[LATE_BUCKETS], late_max_us;

static void send_packet(struct transmitter *t, struct packet *p) {
    uint64_t late_us = (now_ns(CLOCK_MONOTONIC) - p->due_ns) / 1000;
    int bucket = 0;
    if (late_us > late_max_us) late_max_us = late_us;
    while (bucket < LATE_BUCKETS - 1 && (late_us >> bucket)) bucket++;
    late_count[bucket]++;
    if (p->id < sent_ids) sent_ns[p->id] = now_ns(CLOCK_REALTIME);
    ssize_t r;
    int tries = 0;
    do r = sendto(t->fd, p->data, p->bytes, 0, (struct sockaddr *)&t->to, sizeof t->to);
    while (r < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) && ++tries < 1000);
    if (r < 0) t->errors++; else t->sent++;
}

static void *transmit_main(void *unused) {
    (void)unused;
    setpriority(PRIO_PROCESS, syscall(SYS_gettid), transmit_nice);
    while (transmitting) {
        uint64_t now = now_ns(CLOCK_MONOTONIC), next = now + 2000000ull;
        for (int i = 0; i < transmitter_count; i++) {
            struct transmitter *t = &transmitters[i];
            while (t->tail != __atomic_load_n(&t->head, __ATOMIC_ACQUIRE)) {
                struct packet *p = &t->queue[t->tail % QUEUE];
                if (p->due_ns > now) { if (p->due_ns < next) next = p->due_ns; break; }
                send_packet(t, p);
                __atomic_store_n(&t->tail, t->tail + 1, __ATOMIC_RELEASE);
            }
        }
        struct timespec at = {next / 1000000000ull, next % 1000000000ull};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    return NULL;
}

void transmit_open(uint64_t max_ids, int nice_value) {
    sent_ids = max_ids;
    sent_ns = calloc(max_ids, 8);
    transmit_nice = nice_value;
    transmitting = 1;
    pthread_create(&transmit_thread, NULL, transmit_main, NULL);
}
int transmitter_add(int fd, const char *ip, int port) {
    if (transmitter_count >= MAX_TRANSMITTERS) return -1;
    struct transmitter *t = &transmitters[transmitter_count];
    t->fd = fd;
    t->to.sin_family = AF_INET; t->to.sin_port = htons(port); inet_pton(AF_INET, ip, &t->to.sin_addr);
    t->queue = malloc(sizeof *t->queue * QUEUE);
    return transmitter_count++;
}
int transmit(int index, uint64_t due_ns, uint32_t id, const unsigned char *data, int bytes) {
    struct transmitter *t = &transmitters[index];
    uint32_t head = t->head;
    if (head - __atomic_load_n(&t->tail, __ATOMIC_ACQUIRE) >= QUEUE || bytes > MAX_PACKET) return -1;
    struct packet *p = &t->queue[head % QUEUE];
    p->due_ns = due_ns; p->id = id; p->bytes = bytes;
    memcpy(p->data, data, bytes);
    __atomic_store_n(&t->head, head + 1, __ATOMIC_RELEASE);
    return 0;
}
/* out: sent, errors, queued */
void transmitter_counters(int index, uint64_t *out) {
    struct transmitter *t = &transmitters[index];
    out[0] = t->sent; out[1] = t->errors; out[2] = t->head - t->tail;
}
/* out: LATE_BUCKETS counts, then the maximum in microseconds */
void transmit_lateness(uint64_t *out, int reset) {
    memcpy(out, late_count, sizeof late_count);
    out[LATE_BUCKETS] = late_max_us;
    if (reset) { memset(late_count, 0, sizeof late_count); late_max_us = 0; }
}
uint64_t transmit_time_ns(uint32_t id) { return id < sent_ids ? sent_ns[id] : 0; }
void engine_close(void) {
    receiving = 0; transmitting = 0;
    pthread_join(receive_thread, NULL);
    pthread_join(transmit_thread, NULL);
}
