#include "storage/base/err.h"

#include <errno.h>

const char *kist_err_text(enum kist_err err)
{
    static const char *const texts[] = {
#define X(name, text) text,
        KIST_ERR_LIST(X)
#undef X
    };
    return (unsigned)err < KIST_ERR_COUNT ? texts[err] : "unknown error";
}

enum kist_err kist_err_from_errno(int error_number)
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        return KIST_E_NOSPC;
    case ENOMEM:
        return KIST_E_NOMEM;
    default:
        return KIST_E_IO;
    }
}
