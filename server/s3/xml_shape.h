/* Tables of what a configuration document may hold, and the words they are written in:
 *
 *   static const struct s3_shape rule[] = { TEXT("ID", 0, 1), BOOL("Enabled", 1, 1), END };
 *   static const struct s3_shape rules[] = { TREE("Rule", 1, MANY, rule), END };
 *
 * The words are short, so only files with such tables include this.
 */
#ifndef KIST_SERVER_S3_XML_SHAPE_H
#define KIST_SERVER_S3_XML_SHAPE_H

#include "server/s3/internal.h"

/* The children that an element may have; the last row has no name. */
struct s3_shape {
    const char *name;
    enum s3_shape_kind {
        S3_SHAPE_TEXT, /* not empty */
        S3_SHAPE_ANY,
        S3_SHAPE_NUMBER, /* 31 bits */
        S3_SHAPE_SIZE,   /* 63 bits */
        S3_SHAPE_DATE,
        S3_SHAPE_BOOL,
        S3_SHAPE_ENUM,
        S3_SHAPE_TREE
    } kind;
    unsigned min, max;
    const struct s3_shape *children; /* of a TREE */
    const char *values;              /* of an ENUM: "a|b" */
};

#define SHAPE(name, kind, min, max, children, values)                                            \
    {                                                                                            \
        name, kind, min, max, children, values                                                   \
    }
#define TEXT(name, min, max) SHAPE(name, S3_SHAPE_TEXT, min, max, NULL, NULL)
#define ANY_TEXT(name, min, max) SHAPE(name, S3_SHAPE_ANY, min, max, NULL, NULL)
#define NUMBER(name, min, max) SHAPE(name, S3_SHAPE_NUMBER, min, max, NULL, NULL)
#define SIZE(name, min, max) SHAPE(name, S3_SHAPE_SIZE, min, max, NULL, NULL)
#define DATE(name, min, max) SHAPE(name, S3_SHAPE_DATE, min, max, NULL, NULL)
#define BOOL(name, min, max) SHAPE(name, S3_SHAPE_BOOL, min, max, NULL, NULL)
#define ENUM(name, min, max, values) SHAPE(name, S3_SHAPE_ENUM, min, max, NULL, values)
#define TREE(name, min, max, children) SHAPE(name, S3_SHAPE_TREE, min, max, children, NULL)
#define END SHAPE(NULL, S3_SHAPE_ANY, 0, 0, NULL, NULL)
/* Where S3 names no bound. */
#define MANY 1000

/* The node's children are those of the table, each as often as it says. */
bool s3_shape_fits(const struct s3_xml_node *node, const struct s3_shape *children);

extern const struct s3_shape s3_lifecycle_shape[], s3_notification_shape[];

#endif
