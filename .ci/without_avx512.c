/* A processor without AVX-512, AVX-VNNI and AMX, at the speed of the one that has them: preloaded, this makes CPUID answer
   so to the program and all that it starts.

       gcc -O2 -shared -fPIC -o build/without_avx512.so .ci/without_avx512.c
       LD_PRELOAD=$PWD/build/without_avx512.so .venv/bin/pytest -n 2 --dist loadfile

   Linux lets CPUID fault (ARCH_SET_CPUID) where /proc/cpuinfo has the flag cpuid_fault; the handler runs the instruction
   and masks its answer. A handler that the program sets for SIGSEGV is called for every other fault. Threads and forks
   inherit the state; exec clears it, and the next program loads this again. /proc/cpuinfo still lists what is there.
   TensorFlow starts without oneDNN then, as it does on such a processor. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static struct sigaction programs;
static int (*real_sigaction)(int, const struct sigaction *, struct sigaction *);

static int faulting(int on) { return (int)syscall(SYS_arch_prctl, ARCH_SET_CPUID, on ? 0UL : 1UL); }

static void handler(int number, siginfo_t *info, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *code = (const unsigned char *)registers[REG_RIP];
  if (info->si_code == SI_KERNEL && code[0] == 0x0f && code[1] == 0xa2) {
    unsigned leaf = (unsigned)registers[REG_RAX], sub = (unsigned)registers[REG_RCX], a, b, c, d;
    faulting(0);
    __cpuid_count(leaf, sub, a, b, c, d);
    faulting(1);
    if (leaf == 7 && sub == 0) {
      b &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31);
      c &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14);
      d &= ~(1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25);
    } else if (leaf == 7 && sub == 1) {
      a &= ~(1u << 4 | 1u << 5 | 1u << 21 | 1u << 23);
      d &= ~(1u << 4 | 1u << 5 | 1u << 10 | 1u << 19);
    } else if (leaf == 13 && sub == 0) {
      a &= ~(7u << 5 | 3u << 17);
    }
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
    return;
  }
  if (programs.sa_flags & SA_SIGINFO) {
    programs.sa_sigaction(number, info, context);
  } else if (programs.sa_handler != SIG_DFL && programs.sa_handler != SIG_IGN) {
    programs.sa_handler(number);
  } else {
    struct sigaction default_action = {.sa_handler = SIG_DFL};
    real_sigaction(SIGSEGV, &default_action, NULL); /* the instruction faults again and ends the process */
    if (info->si_code <= 0) raise(SIGSEGV);         /* sent by kill, which does not come again */
  }
}

int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
  if (!real_sigaction) real_sigaction = dlsym(RTLD_NEXT, "sigaction");
  if (number != SIGSEGV) return real_sigaction(number, new, old);
  if (old) *old = programs;
  if (new) programs = *new;
  return 0;
}

__sighandler_t signal(int number, __sighandler_t new) {
  struct sigaction action = {.sa_handler = new, .sa_flags = SA_RESTART}, old;
  return sigaction(number, &action, &old) ? SIG_ERR : old.sa_handler;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction ours = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
  if (!real_sigaction) real_sigaction = dlsym(RTLD_NEXT, "sigaction");
  real_sigaction(SIGSEGV, NULL, &programs);
  real_sigaction(SIGSEGV, &ours, NULL);
  if (faulting(1)) {
    fprintf(stderr, "this processor or kernel cannot let CPUID fault\n");
    _exit(78);
  }
}
