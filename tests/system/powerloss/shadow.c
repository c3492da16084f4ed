/* shadow: what a disk holds after a power loss, in the worst case that POSIX allows.
 *
 * Preloaded into the daemon. Files under SHADOW_SRC are mirrored under SHADOW_DST, but only as far
 * as the program has asked for it:
 *
 *   fsync, fdatasync of a file       its content, under the name it has now
 *   fsync of a directory             its names: new ones, renamed ones, unlinked ones
 *   anything else                    nothing
 *
 * Content is kept by inode, so that a file that was synced and then renamed has it under the new
 * name once the directory was synced. Each copy becomes visible by a rename: the process may be
 * killed at any moment, and the mirror is then whole.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *source, *target;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    source = getenv("SHADOW_SRC");
    target = getenv("SHADOW_DST");
}

static void by_inode(char *path, ino_t inode) {
    snprintf(path, PATH_MAX, "%s/.inodes/%lu", target, (unsigned long)inode);
}

static void publish(const char *from, const char *to) {
    char fresh[PATH_MAX];
    snprintf(fresh, sizeof fresh, "%s/.inodes/link", target);
    unlink(fresh);
    if (link(from, fresh) == 0) rename(fresh, to);
    unlink(fresh); /* rename leaves it where both are the same file already */
}

static void keep_file(int fd, ino_t inode, const char *to) {
    char through[64], fresh[PATH_MAX], kept[PATH_MAX], block[1 << 16];
    snprintf(through, sizeof through, "/proc/self/fd/%d", fd);
    snprintf(fresh, sizeof fresh, "%s/.inodes/fresh", target);
    by_inode(kept, inode);
    int in = open(through, O_RDONLY | O_CLOEXEC);
    int out = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (in < 0 || out < 0) abort();
    for (ssize_t got; (got = read(in, block, sizeof block)) > 0;)
        if (write(out, block, got) != got) abort();
    close(in);
    close(out);
    rename(fresh, kept);
    publish(kept, to);
}

static void keep_names(const char *from, const char *to) {
    char ours[PATH_MAX], theirs[PATH_MAX], kept[PATH_MAX];
    struct dirent *entry;
    struct stat facts;
    mkdir(to, 0700);
    DIR *names = opendir(to);
    while (names && (entry = readdir(names))) {
        snprintf(ours, sizeof ours, "%s/%s", from, entry->d_name);
        snprintf(theirs, sizeof theirs, "%s/%s", to, entry->d_name);
        if (entry->d_name[0] != '.' && lstat(ours, &facts) != 0) unlink(theirs);
    }
    if (names) closedir(names);
    names = opendir(from);
    while (names && (entry = readdir(names))) {
        snprintf(ours, sizeof ours, "%s/%s", from, entry->d_name);
        snprintf(theirs, sizeof theirs, "%s/%s", to, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(ours, &facts) != 0) continue;
        if (S_ISDIR(facts.st_mode)) mkdir(theirs, 0700);
        if (!S_ISREG(facts.st_mode)) continue;
        by_inode(kept, facts.st_ino);
        if (access(kept, F_OK) == 0)
            publish(kept, theirs);
        else if (access(theirs, F_OK) != 0)
            close(open(theirs, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)); /* a name without content */
    }
    if (names) closedir(names);
}

static void mirror(int fd) {
    char through[64], path[PATH_MAX], to[PATH_MAX];
    struct stat facts;
    if (!source || !target || fstat(fd, &facts) != 0) return;
    snprintf(through, sizeof through, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(through, path, sizeof path - 1);
    size_t root = strlen(source);
    if (length < 0) return;
    path[length] = 0;
    if (strncmp(path, source, root) != 0 || (path[root] != '/' && path[root] != 0)) return;
    if (facts.st_nlink == 0) return; /* it has no name any more */
    snprintf(to, sizeof to, "%s%s", target, path + root);
    pthread_mutex_lock(&one_at_a_time);
    if (S_ISDIR(facts.st_mode))
        keep_names(path, to);
    else if (S_ISREG(facts.st_mode))
        keep_file(fd, facts.st_ino, to);
    pthread_mutex_unlock(&one_at_a_time);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    int result = real(fd);
    if (result == 0) mirror(fd);
    return result;
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    int result = real(fd);
    if (result == 0) mirror(fd);
    return result;
}
