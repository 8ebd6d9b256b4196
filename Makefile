# kist's build. `make` builds build/kist; `make help` lists the rest.
CC ?= gcc
BUILD ?= build
PKGS := libmicrohttpd lmdb libcrypto libxml-2.0 libisal libprotobuf-c gnutls

WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wcast-align -Wold-style-definition \
        -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings -Wpointer-arith
ifneq (,$(findstring gcc,$(shell $(CC) --version | head -n 1)))
WARN += -Wlogical-op
endif
OPT ?= -O2 -g
SAN ?=
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE
ALL_CFLAGS := -std=c17 -fno-common -fno-omit-frame-pointer -pthread $(WARN) $(OPT) $(SAN) \
              $(shell pkg-config --cflags libmicrohttpd libxml-2.0 libprotobuf-c 2>/dev/null) $(CFLAGS)
ALL_LDFLAGS := -pthread $(SAN) $(LDFLAGS)
LIBS := -lmicrohttpd -llmdb -lcrypto -lxml2 -lisal -lprotobuf-c -lgnutls -lm

# The layers, lowest first. A layer's archive may use only those before it; unit tests of a
# layer link it and the lower ones, so that a wrong use fails to link.
LAYERS := storage/base storage/schema storage/log storage/chunk storage/index storage/object \
          auth server/http server/s3 server/admin server/cli

SRCS := $(foreach l,$(LAYERS),$(wildcard $(l)/*.c)) server/main.c
GEN := $(BUILD)/gen/storage/schema/kist.pb-c.c
archive = $(BUILD)/$(subst /,-,$(1)).a
ARCHIVES := $(foreach l,$(LAYERS),$(call archive,$(l)))
reverse = $(if $(1),$(call reverse,$(wordlist 2,99,$(1))) $(firstword $(1)))
# Archives of layers up to and including $(1), highest first (link order).
upto = $(call reverse,$(call upto_,$(1),$(LAYERS)))
upto_ = $(if $(2),$(call archive,$(firstword $(2))) $(if $(filter $(1),$(firstword $(2))),,$(call upto_,$(1),$(wordlist 2,99,$(2)))))

.PHONY: all clean unit
all: $(BUILD)/kist

$(BUILD)/kist: $(BUILD)/obj/server/main.o $(call reverse,$(ARCHIVES))
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(GEN:.c=.h): $(GEN)
$(GEN): storage/schema/kist.proto
	@mkdir -p $(BUILD)/gen
	protoc-c --c_out=$(BUILD)/gen $<

$(BUILD)/obj/%.o: %.c | $(GEN)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Generated code is not ours to keep free of warnings.
$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -w -MMD -MP -c -o $@ $<

define layer_rule
$(call archive,$(1)): $$(patsubst %.c,$(BUILD)/obj/%.o,$$(wildcard $(1)/*.c)) $(if $(filter storage/schema,$(1)),$(BUILD)/obj/gen/storage/schema/kist.pb-c.o)
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
# tests/unit mirrors the tree: tests/unit/<layer>/test_*.c, one program each.
UNIT_$(1) := $$(patsubst tests/unit/%.c,$(BUILD)/unit/%,$$(wildcard tests/unit/$(1)/test_*.c))
UNITS += $$(UNIT_$(1))
$$(UNIT_$(1)): $(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(call upto,$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$^ $$(shell pkg-config --libs check) $$(LIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))

unit: $(UNITS)
	@set -e; for t in $(UNITS); do $$t; done

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
