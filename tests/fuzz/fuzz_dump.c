/* Rows and commands as `kist dump` finds them on a damaged disk: always one line of text. The
 * first byte says how long the key is; 255: a command of the log. */
#include "storage/index/dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out;
    if (size == 0)
        return 0;
    size_t key = data[0] < size ? data[0] : size - 1;
    struct bytes rest = bytes_of(data + 1, size - 1);
    buf_init(&out, (size_t)16 << 20);
    enum kist_err err = data[0] == 255 ? dump_command(&out, size, rest, 0)
                                       : dump_row(&out, bytes_of(rest.ptr, key),
                                                  bytes_of(rest.ptr + key, rest.len - key));
    struct bytes line = buf_bytes(&out);
    if (err != KIST_OK || line.ptr[0] != '{' || line.ptr[line.len - 1] != '}' ||
        bytes_find(line, BYTES_LIT("\n"), 0) != SIZE_MAX || !bytes_is_utf8(line))
        __builtin_trap();
    buf_release(&out);
    return 0;
}
