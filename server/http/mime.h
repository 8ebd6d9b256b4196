/* Media types of web pages' files, by the tail of their names. */
#ifndef KIST_SERVER_HTTP_MIME_H
#define KIST_SERVER_HTTP_MIME_H

#include "storage/base/bytes.h"

/* Without a charset; NULL: not known. */
const char *mime_type(struct bytes name);

#endif
