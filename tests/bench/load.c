/* load: an SMTP client that costs little, so that what is measured is the server.
 *
 *   load PORT CONNECTIONS SESSIONS MESSAGES OCTETS RATE AUTH SENDER SECURITY
 *
 * Each of CONNECTIONS threads makes SESSIONS sessions of MESSAGES messages with OCTETS octets of
 * body. MAIL, RCPT and DATA go in one write where the server offers PIPELINING. AUTH is the base64
 * of a PLAIN response, or - for none. RATE is messages a second over all, or 0 for as fast as it
 * goes. SECURITY is plain, or tls for TLS from the first octet (RFC 8314), with a handshake of its
 * own for each session and no look at the certificate; it needs a build with -DWITH_TLS -lssl.
 * Printed is one line of JSON: messages, seconds, and percentiles of the time from the final dot to
 * its reply, in milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

/* Between one connection and the next, at the start. A server has room for few that it has not yet
 * accepted (OpenSMTPD for 5), and Linux forgets one more without a word to the client, which then
 * waits for a greeting for ever. */
#define APART_US 2000

static int port, connections, sessions, messages, octets;
static double rate, begun;
static const char *auth, *sender;
static char *body;
static size_t body_octets;
static float *waits;
static _Atomic long done, started;

typedef struct {
    int fd, pipelining;
    size_t from, to;
#ifdef WITH_TLS
    SSL *tls;
#endif
    char line[8192];
} Peer;

#ifdef WITH_TLS
static SSL_CTX *context;
#endif

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void fail(const char *what, const char *line) {
    fprintf(stderr, "load: %s: %s\n", what, line);
    exit(1);
}

static ssize_t put(Peer *peer, const char *text, size_t length) {
#ifdef WITH_TLS
    if (peer->tls) return SSL_write(peer->tls, text, length);
#endif
    return send(peer->fd, text, length, MSG_NOSIGNAL);
}

static ssize_t get(Peer *peer, char *text, size_t length) {
#ifdef WITH_TLS
    if (peer->tls) return SSL_read(peer->tls, text, length);
#endif
    return read(peer->fd, text, length);
}

static void say(Peer *peer, const char *text, size_t length) {
    while (length) {
        ssize_t sent = put(peer, text, length);
        if (sent <= 0) fail("write", strerror(errno));
        text += sent;
        length -= sent;
    }
}

/* One whole reply; its code. */
static int hear(Peer *peer) {
    for (;;) {
        char *end;
        while (!(end = memchr(peer->line + peer->from, '\n', peer->to - peer->from))) {
            if (peer->from) {
                memmove(peer->line, peer->line + peer->from, peer->to - peer->from);
                peer->to -= peer->from;
                peer->from = 0;
            }
            ssize_t got = get(peer, peer->line + peer->to, sizeof peer->line - peer->to);
            if (got <= 0) fail("read", got ? strerror(errno) : "closed");
            peer->to += got;
        }
        char *line = peer->line + peer->from;
        peer->from = end - peer->line + 1;
        if (memmem(line, end - line, "PIPELINING", 10)) peer->pipelining = 1;
        if (line[3] != '-') return atoi(line);
    }
}

static void expect(Peer *peer, int code) {
    int found = hear(peer);
    if (found != code) {
        char text[64];
        snprintf(text, sizeof text, "expected %d, got %d", code, found);
        fail("reply", text);
    }
}

static void ask(Peer *peer, const char *text, int code) {
    say(peer, text, strlen(text));
    expect(peer, code);
}

static void greet(Peer *peer) {
    char line[16384];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    memset(peer, 0, offsetof(Peer, line));
    peer->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(peer->fd, (struct sockaddr *)&at, sizeof at)) fail("connect", strerror(errno));
#ifdef WITH_TLS
    if (context) {
        peer->tls = SSL_new(context);
        SSL_set_fd(peer->tls, peer->fd);
        if (SSL_connect(peer->tls) != 1) fail("handshake", "refused");
    }
#endif
    expect(peer, 220);
    ask(peer, "EHLO load.test\r\n", 250);
    if (strcmp(auth, "-")) {
        snprintf(line, sizeof line, "AUTH PLAIN %s\r\n", auth);
        ask(peer, line, 235);
    }
}

static void part(Peer *peer) {
    ask(peer, "QUIT\r\n", 221);
#ifdef WITH_TLS
    if (peer->tls) SSL_free(peer->tls);
#endif
    close(peer->fd);
}

static void hand_in(Peer *peer, long number) {
    char mail[512], rcpt[512];
    snprintf(mail, sizeof mail, "MAIL FROM:<%s>\r\n", sender);
    snprintf(rcpt, sizeof rcpt, "RCPT TO:<r%ld@rcpt.test>\r\n", number);
    if (peer->pipelining) {
        char all[1100];
        snprintf(all, sizeof all, "%s%sDATA\r\n", mail, rcpt);
        say(peer, all, strlen(all));
        expect(peer, 250);
        expect(peer, 250);
        expect(peer, 354);
    } else {
        ask(peer, mail, 250);
        ask(peer, rcpt, 250);
        ask(peer, "DATA\r\n", 354);
    }
    say(peer, body, body_octets);
    double dot = now();
    expect(peer, 250);
    waits[done++] = (now() - dot) * 1000;
}

static void *client(void *unused) {
    (void)unused;
    Peer peer;
    for (int session = 0; session < sessions; session++) {
        greet(&peer);
        for (int message = 0; message < messages; message++) {
            long number = started++;
            if (rate > 0) {
                double due = begun + number / rate, wait = due - now();
                if (wait > 0) usleep(wait * 1e6);
            }
            hand_in(&peer, number);
        }
        part(&peer);
    }
    return NULL;
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

int main(int count, char **word) {
    if (count != 10)
        fail("usage", "load PORT CONNECTIONS SESSIONS MESSAGES OCTETS RATE AUTH SENDER SECURITY");
    port = atoi(word[1]);
    connections = atoi(word[2]);
    sessions = atoi(word[3]);
    messages = atoi(word[4]);
    octets = atoi(word[5]);
    rate = atof(word[6]);
    auth = word[7];
    sender = word[8];
    if (!strcmp(word[9], "tls")) {
#ifdef WITH_TLS
        context = SSL_CTX_new(TLS_client_method());
#else
        fail("tls", "built without");
#endif
    }
    long total = (long)connections * sessions * messages;
    waits = calloc(total, sizeof *waits);
    body = malloc(octets + 1024);
    int head = sprintf(body, "From: <%s>\r\nTo: <r@rcpt.test>\r\nSubject: load\r\n\r\n", sender);
    body_octets = head;
    while (body_octets < (size_t)octets) {
        int line = octets - body_octets > 78 ? 76 : 20;
        memset(body + body_octets, 'x', line);
        memcpy(body + body_octets + line, "\r\n", 2);
        body_octets += line + 2;
    }
    body_octets += sprintf(body + body_octets, ".\r\n");
    pthread_t *threads = calloc(connections, sizeof *threads);
    begun = now();
    for (int index = 0; index < connections; index++) {
        pthread_create(&threads[index], NULL, client, NULL);
        usleep(APART_US);
    }
    for (int index = 0; index < connections; index++) pthread_join(threads[index], NULL);
    double seconds = now() - begun;
    qsort(waits, total, sizeof *waits, by_size);
    printf("{\"messages\": %ld, \"seconds\": %.4f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
           total, seconds, waits[total / 2], waits[total * 99 / 100], waits[total - 1]);
    return 0;
}
