/* A disk that fails as a test says, under a program that does not know of it: LD_PRELOAD.
 *
 * LIGHTERMAN_DISK_UNDER   files below this folder, which begins with /, are on that disk
 * LIGHTERMAN_DISK_LOG     what is done to the files of LIGHTERMAN_DISK_WATCH (else: of that disk) is noted here, in the
 *                         order in which it was done
 * LIGHTERMAN_DISK_FAULTS  such as write:17:ENOSPC;sync:3+:EIO;read:5:EIO;sync:1+:sleep=50;op:40:kill;sync:1+:lost
 *                         KIND:N[+]:WHAT, counted for each kind; op counts all that changes the disk
 *
 * One lock is held around each call and its note, so the notes' order is the order of what happened. What SQLite maps
 * into memory (-shm) is not seen: it is of no use after a power loss, and SQLite makes it anew.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 4096
#define FAULTS 32

enum kind { WRITE, SYNC, READ, OP, KINDS };
static const char *const kind_names[KINDS] = {"write", "sync", "read", "op"};

enum what { FAIL, SLEEP, KILL, LOST };
struct fault { enum kind kind; long at; int onwards; enum what what; long number; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char under[4096], watch[4096];
static int log_fd = -1;
static struct fault faults[FAULTS];
static int fault_count;
static long counts[KINDS];
/* By descriptor: 0 = not ours, 1 = noted, 2 = on the disk that fails as well. */
static unsigned char ours[FDS];

#define REAL(type, name, ...) \
  static type (*real_##name)(__VA_ARGS__);
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, read, int, void *, size_t)
REAL(ssize_t, pread64, int, void *, size_t, off64_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, ftruncate64, int, off64_t)
REAL(int, unlink, const char *)
REAL(int, rename, const char *, const char *)
REAL(int, close, int)
REAL(int, open64, const char *, int, ...)

static long number_of(const char *name) {
  if (!strcmp(name, "ENOSPC")) return ENOSPC;
  if (!strcmp(name, "EIO")) return EIO;
  if (!strcmp(name, "EDQUOT")) return EDQUOT;
  _exit(71);
}

static void read_faults(const char *text) {
  char copy[4096];
  snprintf(copy, sizeof copy, "%s", text);
  char *rest = copy, *part;
  while ((part = strsep(&rest, ";"))) {
    if (!*part) continue;
    char *kind = strsep(&part, ":"), *at = strsep(&part, ":");
    if (!at || !part || fault_count == FAULTS) _exit(71);
    struct fault *fault = &faults[fault_count++];
    int found = 0;
    for (int k = 0; k < KINDS; k++)
      if (!strcmp(kind, kind_names[k])) { fault->kind = k; found = 1; }
    if (!found) _exit(71);
    fault->at = strtol(at, &at, 10);
    fault->onwards = *at == '+';
    if (!strncmp(part, "sleep=", 6)) { fault->what = SLEEP; fault->number = atol(part + 6); }
    else if (!strcmp(part, "kill")) fault->what = KILL;
    else if (!strcmp(part, "lost")) fault->what = LOST;
    else { fault->what = FAIL; fault->number = number_of(part); }
  }
}

static void set_up(void) {
  real_write = dlsym(RTLD_NEXT, "write");
  real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_read = dlsym(RTLD_NEXT, "read");
  real_pread64 = dlsym(RTLD_NEXT, "pread64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_ftruncate64 = dlsym(RTLD_NEXT, "ftruncate64");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  real_rename = dlsym(RTLD_NEXT, "rename");
  real_close = dlsym(RTLD_NEXT, "close");
  real_open64 = dlsym(RTLD_NEXT, "open64");
  const char *said = getenv("LIGHTERMAN_DISK_UNDER");
  snprintf(under, sizeof under, "%s/", said ? said : "/nowhere");
  said = getenv("LIGHTERMAN_DISK_WATCH");
  if (said) snprintf(watch, sizeof watch, "%s/", said);
  else snprintf(watch, sizeof watch, "%s", under);
  said = getenv("LIGHTERMAN_DISK_LOG");
  if (said) log_fd = real_open64(said, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  said = getenv("LIGHTERMAN_DISK_FAULTS");
  if (said) read_faults(said);
}

static void ready(void) { pthread_once(&once, set_up); }

/* The absolute name of what a program calls `path`; names with .. in them are not used here. */
static void absolute(const char *path, char *to, size_t size) {
  if (path[0] == '/') { snprintf(to, size, "%s", path); return; }
  char folder[4096];
  if (!getcwd(folder, sizeof folder)) folder[0] = 0;
  if (path[0] == '.' && path[1] == '/') path += 2;
  snprintf(to, size, "%s/%s", folder, path);
}

static int place(const char *absolute_path) {
  size_t end = strlen(absolute_path);
  /* What is in memory alone. */
  if (end > 4 && !strcmp(absolute_path + end - 4, "-shm")) return 0;
  if (!strncmp(absolute_path, under, strlen(under))) return 2;
  /* The folder itself is synced as well. */
  size_t length = strlen(under) - 1;
  if (!strncmp(absolute_path, under, length) && end == length) return 2;
  return !strncmp(absolute_path, watch, strlen(watch));
}

static unsigned char of(int fd) { return fd >= 0 && fd < FDS ? ours[fd] : 0; }

static void put(const void *data, size_t size) {
  const char *at = data;
  while (size) {
    ssize_t done = real_write(log_fd, at, size);
    if (done < 0) { if (errno == EINTR) continue; _exit(72); }
    at += done; size -= done;
  }
}

static void name_of(int fd, char *to, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, to, size - 1);
  to[length < 0 ? 0 : length] = 0;
}

static unsigned long inode(int fd) {
  struct stat found;
  return fstat(fd, &found) ? 0 : found.st_ino;
}

/* A line, then `size` bytes of data. */
static void note(const char *what, unsigned long file, off64_t offset, size_t size, const char *name, const void *data) {
  if (log_fd < 0) return;
  char line[9000];
  int length = snprintf(line, sizeof line, "%s\t%lu\t%lld\t%zu\t%s\n", what, file, (long long)offset, size, name);
  put(line, length);
  if (data) put(data, size);
}

/* What happens to a call of this kind: 0, an error number, or -1 for a sync that is lost. The lock is held. */
static int due(enum kind kind, unsigned char whose) {
  if (whose < 2) return 0;
  long count = ++counts[kind];
  int verdict = 0;
  for (int n = 0; n < fault_count; n++) {
    struct fault *fault = &faults[n];
    if (fault->kind != kind || !(count == fault->at || (fault->onwards && count > fault->at))) continue;
    switch (fault->what) {
    case FAIL:
      note("fault", fault->number, count, 0, kind_names[kind], NULL);
      verdict = fault->number;
      break;
    case LOST: verdict = -1; break;
    case SLEEP: {
      struct timespec time = {fault->number / 1000, fault->number % 1000 * 1000000};
      note("fault", 0, count, 0, kind_names[kind], NULL);
      pthread_mutex_unlock(&lock);
      nanosleep(&time, NULL);
      pthread_mutex_lock(&lock);
      break;
    }
    case KILL:
      note("cut", 0, count, 0, "", NULL);
      syscall(SYS_kill, getpid(), SIGKILL);
      for (;;) pause();
    }
  }
  return verdict;
}

static int changing(enum kind kind, unsigned char whose) {
  int first = due(OP, whose);
  if (kind == OP) return first;
  int second = due(kind, whose);
  return first ? first : second;
}

static int opened(const char *path, int flags, int mode, int at) {
  ready();
  char name[8192];
  absolute(path, name, sizeof name);
  int whose = place(name);
  if (!whose) return syscall(SYS_openat, at, path, flags, mode);
  pthread_mutex_lock(&lock);
  int is_new = (flags & O_CREAT) && access(path, F_OK);
  if (is_new) {
    int verdict = changing(OP, whose);
    if (verdict > 0) { pthread_mutex_unlock(&lock); errno = verdict; return -1; }
  }
  int fd = syscall(SYS_openat, at, path, flags, mode);
  int error = errno;
  if (fd >= 0 && fd < FDS) {
    ours[fd] = whose;
    if (is_new) note("create", inode(fd), 0, 0, name, NULL);
    else note("open", inode(fd), 0, 0, name, NULL);
    if (!is_new && (flags & O_TRUNC)) note("truncate", inode(fd), 0, 0, name, NULL);
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return fd;
}

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
    return opened(path, flags, mode, AT_FDCWD); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int at, const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); \
    if (at == AT_FDCWD || path[0] == '/') return opened(path, flags, mode, AT_FDCWD); \
    return syscall(SYS_openat, at, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
  ready();
  if (fd >= 0 && fd < FDS) ours[fd] = 0;
  return real_close(fd);
}

static ssize_t written(int fd, const void *data, size_t size, off64_t offset, int seeks) {
  pthread_mutex_lock(&lock);
  int verdict = changing(WRITE, of(fd));
  ssize_t done = -1;
  if (verdict > 0) errno = verdict;
  else {
    if (seeks) {
      int flags = fcntl(fd, F_GETFL);
      offset = lseek64(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
      done = real_write(fd, data, size);
    } else done = real_pwrite64(fd, data, size, offset);
    if (done > 0) {
      char name[4096];
      name_of(fd, name, sizeof name);
      note("write", inode(fd), offset, done, name, data);
    }
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

ssize_t write(int fd, const void *data, size_t size) {
  ready();
  return of(fd) ? written(fd, data, size, 0, 1) : real_write(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  ready();
  return of(fd) ? written(fd, data, size, offset, 0) : real_pwrite64(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
  ready();
  if (!of(fd)) return real_writev(fd, parts, count);
  ssize_t all = 0;
  for (int n = 0; n < count; n++) {
    ssize_t done = written(fd, parts[n].iov_base, parts[n].iov_len, 0, 1);
    if (done < 0) return all ? all : -1;
    all += done;
    if ((size_t)done < parts[n].iov_len) break;
  }
  return all;
}

static int read_verdict(int fd) {
  if (of(fd) < 2) return 0;
  pthread_mutex_lock(&lock);
  int verdict = due(READ, of(fd));
  pthread_mutex_unlock(&lock);
  return verdict;
}

ssize_t read(int fd, void *data, size_t size) {
  ready();
  int verdict = read_verdict(fd);
  if (verdict > 0) { errno = verdict; return -1; }
  return real_read(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
  ready();
  int verdict = read_verdict(fd);
  if (verdict > 0) { errno = verdict; return -1; }
  return real_pread64(fd, data, size, offset);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) { return pread64(fd, data, size, offset); }

static int synced(int fd, int (*real)(int)) {
  pthread_mutex_lock(&lock);
  int verdict = changing(SYNC, of(fd)), done = -1;
  char name[4096];
  name_of(fd, name, sizeof name);
  if (verdict > 0) errno = verdict;
  else if (verdict < 0) { done = 0; note("lost", inode(fd), 0, 0, name, NULL); }
  else {
    done = real(fd);
    if (!done) note("sync", inode(fd), 0, 0, name, NULL);
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

int fsync(int fd) { ready(); return of(fd) ? synced(fd, real_fsync) : real_fsync(fd); }
int fdatasync(int fd) { ready(); return of(fd) ? synced(fd, real_fdatasync) : real_fdatasync(fd); }

int ftruncate64(int fd, off64_t size) {
  ready();
  if (!of(fd)) return real_ftruncate64(fd, size);
  pthread_mutex_lock(&lock);
  int verdict = changing(OP, of(fd)), done = -1;
  if (verdict > 0) errno = verdict;
  else {
    done = real_ftruncate64(fd, size);
    char name[4096];
    name_of(fd, name, sizeof name);
    if (!done) note("truncate", inode(fd), size, 0, name, NULL);
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int unlink(const char *path) {
  ready();
  char name[8192];
  absolute(path, name, sizeof name);
  int whose = place(name);
  if (!whose) return real_unlink(path);
  pthread_mutex_lock(&lock);
  int verdict = changing(OP, whose), done = -1;
  if (verdict > 0) errno = verdict;
  else {
    done = real_unlink(path);
    if (!done) note("unlink", 0, 0, 0, name, NULL);
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}

int rename(const char *from, const char *to) {
  ready();
  char old[4100], new[4100], names[8300];
  absolute(from, old, sizeof old);
  absolute(to, new, sizeof new);
  int whose = place(new);
  if (!whose) return real_rename(from, to);
  pthread_mutex_lock(&lock);
  int verdict = changing(OP, whose), done = -1;
  if (verdict > 0) errno = verdict;
  else {
    done = real_rename(from, to);
    snprintf(names, sizeof names, "%s\t%s", old, new);
    if (!done) note("rename", 0, 0, 0, names, NULL);
  }
  int error = errno;
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
