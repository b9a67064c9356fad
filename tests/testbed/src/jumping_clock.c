/* A library to preload. It makes the wall clock of a program jump: every few readings differ by years, in either direction. With
 * the variable CLOCK_AHEAD, every reading is ahead by that number of seconds instead.
 *
 * Timed waits keep their duration, because the clock of the kernel does not jump. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

#define YEAR (365 * 24 * 3600)

static const time_t years[] = {0, 3, -2, 20, -30};
#define JUMPS (sizeof years / sizeof *years)

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static time_t jump(void) {
  static atomic_uint readings;
  const char *ahead = getenv("CLOCK_AHEAD");
  if (ahead) return atol(ahead);
  return years[atomic_fetch_add(&readings, 1) / 7 % JUMPS] * YEAR;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = REAL(clock_gettime)(clock, now);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
  return result;
}

int timespec_get(struct timespec *now, int base) {
  clock_gettime(CLOCK_REALTIME, now);
  return base;
}

int gettimeofday(struct timeval *now, void *zone) {
  int result = REAL(gettimeofday)(now, zone);
  now->tv_sec += jump();
  return result;
}

time_t time(time_t *now) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  if (now) *now = precise.tv_sec;
  return precise.tv_sec;
}

/* Converts a deadline to the clock of the kernel: the candidate closest to now, because no wait lasts a year. */
static struct timespec meant(const struct timespec *until) {
  struct timespec now, nearest = *until;
  REAL(clock_gettime)(CLOCK_REALTIME, &now);
  const char *ahead = getenv("CLOCK_AHEAD");
  if (ahead) {
    nearest.tv_sec -= atol(ahead);
    return nearest;
  }
  for (size_t i = 0; i < JUMPS; i++) {
    time_t moment = until->tv_sec - years[i] * YEAR;
    if (labs(moment - now.tv_sec) < labs(nearest.tv_sec - now.tv_sec)) nearest.tv_sec = moment;
  }
  return nearest;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  struct timespec moment = meant(until);
  return REAL(pthread_cond_timedwait)(condition, mutex, &moment);
}

/* librdkafka's waits. */
int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
  struct timespec moment = meant(until);
  return REAL(cnd_timedwait)(condition, mutex, &moment);
}
