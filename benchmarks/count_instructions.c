/* Plugin of qemu 7.2 or newer (API version 1) that counts the instructions of the guest, for arm.py, which compiles it:
   at each getppid() of the guest it prints how many were executed so far. It declares what it takes of qemu-plugin.h, which Debian's qemu-user does not bring. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stddef.h>

struct qemu_plugin_tb;
enum { INLINE_ADD_U64 = 0, GETPPID_OF_AARCH64 = 173 };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*callback)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int operation, void *to, uint64_t value);
typedef void (*SystemCall)(uint64_t id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t id, SystemCall callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t executed; /* of one thread: additions of several could be lost */

static void on_translation(uint64_t id, struct qemu_plugin_tb *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void on_system_call(uint64_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                           uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == GETPPID_OF_AARCH64) fprintf(stderr, "instructions %" PRIu64 "\n", executed);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
