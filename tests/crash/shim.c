/* Faults at the k-th system call that changes files below one folder.
 *
 * Every call that writes, forces, makes, links, renames or resizes a file is trapped by a seccomp filter in the armed process and all
 * its threads, whoever makes it: Python, C++, or C's own buffers, whose writes no preloaded function sees. The handler lets calls
 * about other places pass, counts the rest, and at the k-th does what it was armed with. A filter cannot be taken off: arm in a child.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

enum action { KILL_BEFORE, KILL_AFTER, NO_SPACE, IO_ERROR, SHORT_WRITE };
enum { STEPS = 1 << 14, NAME = 240 };
struct step { char kind, path[NAME]; };

static char folder[PATH_MAX];
static size_t folder_length;
static long fault_at, counted;
static int action, full;
struct step shim_steps[STEPS];
char shim_hit[PATH_MAX];

/* raw(number, a, b, c, d, e, f): a system call from the one place that the filter lets pass. */
long raw(long number, ...);
extern char raw_end[];
#if defined(__x86_64__)
#define ARGUMENTS(m) {m->gregs[REG_RDI], m->gregs[REG_RSI], m->gregs[REG_RDX], m->gregs[REG_R10], m->gregs[REG_R8], m->gregs[REG_R9]}
#define RESULT(m) m->gregs[REG_RAX]
__asm__(".text\nraw: mov %rdi,%rax\n mov %rsi,%rdi\n mov %rdx,%rsi\n mov %rcx,%rdx\n mov %r8,%r10\n mov %r9,%r8\n mov 8(%rsp),%r9\n"
        "syscall\nraw_end: ret\n");
#elif defined(__aarch64__)
#define ARGUMENTS(m) {m->regs[0], m->regs[1], m->regs[2], m->regs[3], m->regs[4], m->regs[5]}
#define RESULT(m) m->regs[0]
__asm__(".text\nraw: mov x8,x0\n mov x0,x1\n mov x1,x2\n mov x2,x3\n mov x3,x4\n mov x4,x5\n mov x5,x6\n svc #0\nraw_end: ret\n");
#else
#error "the fault tests know x86-64 and arm64 only"
#endif

/* What to trap: the number, the kind of step, where the path or descriptor stands among the arguments, and where the flags do. */
enum { BY_FD, BY_PATH, BY_FD_AND_PATH };
static const struct call { int number; char kind; int by, at, flags; } calls[] = {
    {__NR_write, 'w', BY_FD, 0, -1},      {__NR_pwrite64, 'w', BY_FD, 0, -1},          {__NR_writev, 'w', BY_FD, 0, -1},
    {__NR_pwritev, 'w', BY_FD, 0, -1},    {__NR_pwritev2, 'w', BY_FD, 0, -1},          {__NR_fsync, 's', BY_FD, 0, -1},
    {__NR_fdatasync, 's', BY_FD, 0, -1},  {__NR_ftruncate, 't', BY_FD, 0, -1},         {__NR_fallocate, 't', BY_FD, 0, -1},
    {__NR_linkat, 'l', BY_FD_AND_PATH, 2, -1},    {__NR_renameat, 'r', BY_FD_AND_PATH, 2, -1},
    {__NR_renameat2, 'r', BY_FD_AND_PATH, 2, -1}, {__NR_mkdirat, 'm', BY_FD_AND_PATH, 0, -1},
    {__NR_openat, 'c', BY_FD_AND_PATH, 0, 2},
#ifdef __NR_link
    {__NR_link, 'l', BY_PATH, 1, -1},     {__NR_rename, 'r', BY_PATH, 1, -1},          {__NR_mkdir, 'm', BY_PATH, 0, -1},
    {__NR_open, 'c', BY_PATH, 0, 1},
#endif
};
enum { CALLS = sizeof calls / sizeof *calls };

static const char *decimal(unsigned value, char *end) {
    for (*--end = '0' + value % 10; value /= 10;) *--end = '0' + value % 10;
    return end;
}

/* Write the absolute path that a call is about; return 0 where there is none. */
static int path_of(const struct call *call, const long *a, char *path) {
    const char *name = call->by == BY_FD ? "" : (const char *)a[call->at + (call->by == BY_FD_AND_PATH)];
    char link[64] = "/proc/self/cwd", digits[16] = "";
    long length = 0;
    if (*name != '/') {
        if (call->by == BY_FD || (call->by == BY_FD_AND_PATH && (int)a[call->at] != AT_FDCWD))
            strcpy(stpcpy(link, "/proc/self/fd/"), decimal((unsigned)a[call->at], digits + 15));
        length = raw(__NR_readlinkat, (long)AT_FDCWD, link, path, (long)PATH_MAX - 1, 0L, 0L);
        if (length < 0) return 0;
        if (*name) path[length++] = '/';
    }
    if (length + strlen(name) >= PATH_MAX) return 0;
    strcpy(path + length, name);
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static long pass(long number, const long *a) { return raw(number, a[0], a[1], a[2], a[3], a[4], a[5]); }

static long die(void) { return raw(__NR_kill, raw(__NR_getpid, 0L, 0L, 0L, 0L, 0L, 0L), (long)SIGKILL, 0L, 0L, 0L, 0L); }

/* Write half of what a call would write; return how many bytes that is, or -ENOSPC where it is none. */
static long half(long number, const long *a) {
    long b[6] = {a[0], a[1], a[2], a[3], a[4], a[5]};
    struct iovec first;
    if (number == __NR_write || number == __NR_pwrite64) {
        if (!(b[2] /= 2)) return -ENOSPC;
    } else {
        first = *(struct iovec *)a[1];
        if (!(first.iov_len /= 2)) return -ENOSPC;
        b[1] = (long)&first, b[2] = 1;
    }
    return pass(number, b);
}

static long step(const struct call *call, const long *a, const char *path) {
    long n = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST), result;
    if (n <= STEPS) {
        strncpy(shim_steps[n - 1].path, path, NAME - 1);
        shim_steps[n - 1].kind = call->kind;
    }
    if (full && (call->kind == 'w' || call->kind == 't')) return -ENOSPC;
    if (n != fault_at) return pass(call->number, a);
    strcpy(shim_hit, path);
    switch (action) {
    case KILL_BEFORE: return die();
    case NO_SPACE: return -ENOSPC;
    case IO_ERROR: return -EIO;
    case SHORT_WRITE: full = 1; return call->kind == 'w' ? half(call->number, a) : pass(call->number, a);
    }
    result = pass(call->number, a);
    die();
    return result;
}

static void trapped(int number, siginfo_t *info, void *context) {
    mcontext_t *m = &((ucontext_t *)context)->uc_mcontext;
    long a[6] = ARGUMENTS(m);
    char path[PATH_MAX];
    for (int i = 0; i < CALLS; i++)
        if (calls[i].number == info->si_syscall) {
            int counts = path_of(&calls[i], a, path);
            RESULT(m) = counts ? step(&calls[i], a, path) : pass(info->si_syscall, a);
        }
    (void)number;
}

/* Watch a folder from now on, in this process, its threads and its children; the k-th step fails as `how` says (0: none does).
 * Returns 0, or the error of the kernel that refused.
 */
int shim_arm(const char *below, long k, int how) {
    struct sock_filter f[5 * CALLS + 8];
    uint64_t end = (uint64_t)raw_end;
    int n = 0;
    strcpy(folder, below);
    folder_length = strlen(folder), fault_at = k, action = how;
    struct sigaction handler = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    if (sigaction(SIGSYS, &handler, NULL)) return errno;
#define LOAD(field) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_NOT(value, skip) (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (skip))
#define RETURN(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, (what))
    f[n++] = LOAD(instruction_pointer), f[n++] = IF_NOT((uint32_t)end, 3);
    f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4);
    f[n++] = IF_NOT((uint32_t)(end >> 32), 1), f[n++] = RETURN(SECCOMP_RET_ALLOW);
    f[n++] = LOAD(nr);
    for (int i = 0; i < CALLS; i++) {
        if (calls[i].flags < 0) {
            f[n++] = IF_NOT(calls[i].number, 1), f[n++] = RETURN(SECCOMP_RET_TRAP);
            continue;
        }
        f[n++] = IF_NOT(calls[i].number, 4), f[n++] = LOAD(args[calls[i].flags]);
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_CREAT, 0, 1), f[n++] = RETURN(SECCOMP_RET_TRAP);
        f[n++] = RETURN(SECCOMP_RET_ALLOW);
    }
    f[n++] = RETURN(SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = n, .filter = f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L)) return errno;
    long refused = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    return refused ? (refused < 0 ? errno : ESRCH) : 0;
}

long shim_count(void) { return counted; }
