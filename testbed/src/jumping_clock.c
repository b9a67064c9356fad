/* Preloaded into a program, makes its wall clock jump: every few readings it is years off, in either direction.
 *
 * A thread that waits until a moment of that clock waits for as long as it meant to: the kernel's clock does not jump. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

/* By how much this thread's last reading was off. */
static _Thread_local time_t offset;

static time_t jump(void) {
  static atomic_uint readings;
  static const time_t years[] = {0, 3, -2, 20, -30};
  return offset = years[atomic_fetch_add(&readings, 1) / 7 % 5] * 365 * 24 * 3600;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
  int result = real(now, zone);
  now->tv_sec += jump();
  return result;
}

time_t time(time_t *now) {
  struct timeval precise;
  gettimeofday(&precise, 0);
  if (now) *now = precise.tv_sec;
  return precise.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  struct timespec meant = *until;
  meant.tv_sec -= offset;
  return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &meant);
}
