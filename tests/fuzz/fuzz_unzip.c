/* Fuzzes zips of functions as they are looked at before anything is made of them: no crash, and
 * never more than a function may have. */
#include <stdlib.h>

#include "server/functions/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t unpacked = 0;
    const char *why = NULL;
    enum kist_err err = code_check(bytes_of(data, size), &unpacked, &why);
    if (err == KIST_OK && unpacked > FN_CODE_MAX)
        abort();
    if ((err == KIST_E_INVALID || err == KIST_E_TOO_LARGE) && !why)
        abort();
    return 0;
}
