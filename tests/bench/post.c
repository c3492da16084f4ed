/* post: an HTTP client that costs little, so that what is measured is the server.
 *
 *   post PORT CONNECTIONS REQUESTS STATUS FILE
 *
 * Each of CONNECTIONS threads sends the octets of FILE, one whole request, REQUESTS times on one
 * connection that is kept alive, and waits for each answer with its body. An answer with another
 * status than STATUS ends the run. Printed is one line of JSON: requests, seconds, and percentiles
 * of the time from the request to its whole answer, in milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST = 1 << 20 };

static int port, connections, requests, status;
static char request[LARGEST];
static size_t request_octets;
static float *waits;
static _Atomic long done;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void fail(const char *what, const char *why) {
    fprintf(stderr, "post: %s: %s\n", what, why);
    exit(1);
}

static int opened(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&at, sizeof at)) fail("connect", strerror(errno));
    return fd;
}

static void ask(int fd) {
    const char *rest = request;
    size_t left = request_octets;
    while (left) {
        ssize_t sent = send(fd, rest, left, MSG_NOSIGNAL);
        if (sent < 0) fail("write", strerror(errno));
        rest += sent;
        left -= sent;
    }
}

/* Octets of the whole answer, or 0 while its head is not there. */
static size_t length_of(const char *answer) {
    const char *end = strstr(answer, "\r\n\r\n"), *field = strcasestr(answer, "\r\ncontent-length:");
    if (!end) return 0;
    if (!field || field > end) fail("answer", "has no content-length");
    return end + 4 - answer + atol(field + 17);
}

static void hear(int fd, char *answer) {
    size_t there = 0, wanted = 0;
    while (!wanted || there < wanted) {
        ssize_t got = read(fd, answer + there, LARGEST - 1 - there);
        if (got <= 0) fail("read", got ? strerror(errno) : "closed");
        there += got;
        answer[there] = 0;
        if (!wanted) wanted = length_of(answer);
    }
    if (there < 12 || atoi(answer + 9) != status) fail("answer", answer);
}

static void *client(void *unused) {
    (void)unused;
    char *answer = malloc(LARGEST);
    int fd = opened();
    for (int number = 0; number < requests; number++) {
        double began = now();
        ask(fd);
        hear(fd, answer);
        waits[done++] = (now() - began) * 1000;
    }
    close(fd);
    free(answer);
    return NULL;
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

int main(int count, char **word) {
    if (count != 6) fail("usage", "post PORT CONNECTIONS REQUESTS STATUS FILE");
    port = atoi(word[1]);
    connections = atoi(word[2]);
    requests = atoi(word[3]);
    status = atoi(word[4]);
    FILE *file = fopen(word[5], "rb");
    if (!file) fail(word[5], strerror(errno));
    request_octets = fread(request, 1, sizeof request, file);
    fclose(file);
    long total = (long)connections * requests;
    waits = calloc(total, sizeof *waits);
    pthread_t *threads = calloc(connections, sizeof *threads);
    double began = now();
    for (int index = 0; index < connections; index++)
        pthread_create(&threads[index], NULL, client, NULL);
    for (int index = 0; index < connections; index++) pthread_join(threads[index], NULL);
    double seconds = now() - began;
    qsort(waits, total, sizeof *waits, by_size);
    printf("{\"requests\": %ld, \"seconds\": %.4f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
           total, seconds, waits[total / 2], waits[total * 99 / 100], waits[total - 1]);
    return 0;
}
