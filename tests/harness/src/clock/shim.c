/* A wall clock that a test sets, under a program that does not know of it: LD_PRELOAD.
 *
 * LIGHTERMAN_CLOCK names a file of 8 bytes: how far the wall clock is from the machine's, in nanoseconds, in this
 * machine's byte order. It is mapped, so what a test writes there is in force at once. The monotonic clock is left
 * alone, as it is when somebody sets the time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static volatile int64_t nothing = 0, *offset = &nothing;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void set_up(void) {
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  const char *name = getenv("LIGHTERMAN_CLOCK");
  int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) offset = at;
  close(fd);
}

int clock_gettime(clockid_t which, struct timespec *to) {
  pthread_once(&once, set_up);
  int done = real_clock_gettime(which, to);
  if (done || (which != CLOCK_REALTIME && which != CLOCK_REALTIME_COARSE)) return done;
  int64_t nanos = to->tv_sec * INT64_C(1000000000) + to->tv_nsec + *offset;
  to->tv_sec = nanos / 1000000000;
  to->tv_nsec = nanos % 1000000000;
  return 0;
}

int gettimeofday(struct timeval *restrict to, void *restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  to->tv_sec = now.tv_sec;
  to->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *to) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}
