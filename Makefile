# kist's build. `make` builds build/kist; `make help` lists the rest.
#
# Nothing is installed yet when `make run` or `make test` begins on a fresh machine: reading this
# file must work without a compiler.
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
# Seconds for each fuzzer of `make fuzz`.
FUZZ_SECONDS ?= 60
# kill -9 rounds of `make crash`, random workloads of `make sim`.
CRASH_ROUNDS ?= 300
SIM_ROUNDS ?= 2000
# Options of `kist serve` for `make run`.
ARGS ?=

WARN := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wcast-align -Wold-style-definition \
        -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings -Wpointer-arith
ifneq (,$(findstring Free Software Foundation,$(shell $(CC) --version 2>/dev/null)))
WARN += -Wlogical-op
endif
OPT ?= -O2 -g
SAN ?=
CPPFLAGS += -I. -I$(BUILD)/gen -D_GNU_SOURCE
ALL_CFLAGS := -std=c17 -fno-common -fno-omit-frame-pointer -pthread $(WARN) $(OPT) $(SAN) \
              $(shell pkg-config --cflags libmicrohttpd libxml-2.0 libprotobuf-c 2>/dev/null) $(CFLAGS)
ALL_LDFLAGS := -pthread $(SAN) $(LDFLAGS)
# Brokers that events can go to: each is built in where its library is (README, Dependencies), and
# BROKERS= leaves them out.
ALL_BROKERS := hiredis libnats libmosquitto librabbitmq rdkafka
BROKERS ?= $(ALL_BROKERS)
BROKER_PKGS := $(foreach p,$(BROKERS),$(if $(shell pkg-config --exists $(p) 2>/dev/null && echo y),$(p)))
FILE_hiredis := redis
FILE_libnats := nats
FILE_libmosquitto := mqtt
FILE_librabbitmq := amqp
FILE_rdkafka := kafka
# A machine of 64 bits has one kind of file offsets; the simulator of power cuts names both kinds.
CPPFLAGS += $(foreach p,$(BROKER_PKGS),-DHAVE_$(FILE_$(p)) \
              $(subst -I,-isystem ,$(filter-out -D_FILE_OFFSET_BITS=64,$(shell pkg-config --cflags $(p)))))
NOT_BUILT := $(foreach p,$(filter-out $(BROKER_PKGS),$(ALL_BROKERS)),\
             server/events/target_$(FILE_$(p)).c)
LIBS := -lmicrohttpd -llmdb -lcrypto -lxml2 -lisal -lprotobuf-c -lgnutls -ljansson -lcurl -lssl \
        -licui18n -licuuc -lseccomp -larchive -lyaml -lm \
        $(foreach p,$(BROKER_PKGS),$(shell pkg-config --libs $(p)))
CHECK_LIBS := $(shell pkg-config --libs check 2>/dev/null)

# The layers, lowest first. A layer's archive may use only those before it; unit tests of a
# layer link it and the lower ones, so that a wrong use fails to link.
LAYERS := storage/base storage/schema storage/log storage/chunk storage/index storage/object \
          auth server/http server/events server/functions server/s3 server/admin server/cli

GEN := $(BUILD)/gen/storage/schema/kist.pb-c.c
archive = $(BUILD)/$(subst /,-,$(1)).a
ARCHIVES := $(foreach l,$(LAYERS),$(call archive,$(l)))
reverse = $(if $(1),$(call reverse,$(wordlist 2,99,$(1))) $(firstword $(1)))
# Archives of layers up to and including $(1), highest first (link order).
upto = $(call reverse,$(call upto_,$(1),$(LAYERS)))
upto_ = $(if $(2),$(call archive,$(firstword $(2))) $(if $(filter $(1),$(firstword $(2))),,$(call upto_,$(1),$(wordlist 2,99,$(2)))))

.PHONY: all run test unit tests asan tsan fuzz fuzzers fuzz-regress crash sim bench lint format dev \
        install uninstall help clean FORCE
.DELETE_ON_ERROR:
all: $(BUILD)/kist

$(BUILD)/kist: $(BUILD)/obj/server/main.o $(BUILD)/obj/server/serve.o $(call reverse,$(ARCHIVES))
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(GEN:.c=.h): $(GEN)
$(GEN): storage/schema/kist.proto
	@mkdir -p $(BUILD)/gen
	protoc-c --c_out=$(BUILD)/gen $<

$(BUILD)/obj/%.o: %.c | $(GEN)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Which brokers there were when it was built: where that changes, what lists them is built again.
$(BUILD)/brokers: FORCE
	@mkdir -p $(@D)
	@echo '$(BROKER_PKGS)' | cmp -s - $@ || echo '$(BROKER_PKGS)' > $@
$(patsubst %,$(BUILD)/obj/%.o,server/events/target_settings \
  tests/unit/server/events/test_target_brokers tests/unit/server/events/test_target_kafka \
  tests/unit/server/events/test_target_harm): \
  $(BUILD)/brokers
FORCE:

# The functions' bootstraps are in the program.
$(BUILD)/obj/server/functions/runtimes.o: server/functions/bootstrap.py server/functions/bootstrap.mjs

# Generated code is not ours to keep free of warnings.
$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -w -MMD -MP -c -o $@ $<

define layer_rule
$(call archive,$(1)): $$(patsubst %.c,$(BUILD)/obj/%.o,$$(filter-out $(NOT_BUILT),$$(wildcard $(1)/*.c))) $(if $(filter storage/schema,$(1)),$(BUILD)/obj/gen/storage/schema/kist.pb-c.o)
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
# tests/unit mirrors the tree: tests/unit/<layer>/test_*.c, one program each.
UNIT_$(1) := $$(patsubst tests/unit/%.c,$(BUILD)/unit/%,$$(wildcard tests/unit/$(1)/test_*.c))
UNITS += $$(UNIT_$(1))
$$(UNIT_$(1)): $(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(call upto,$(1))
	@mkdir -p $$(@D)
	$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -o $$@ $$^ $$(CHECK_LIBS) $$(LIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))

# Power loss: disk.c stands between libc and everybody else, liblmdb too, hence -rdynamic.
SIMS := $(patsubst tests/sim/%.c,$(BUILD)/sim/%,$(wildcard tests/sim/test_*.c))
SIM_OBJS := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out tests/sim/test_%,$(wildcard tests/sim/*.c)))
$(SIMS): $(BUILD)/sim/%: $(BUILD)/obj/tests/sim/%.o $(SIM_OBJS) $(call upto,storage/object)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -rdynamic -o $@ $^ $(CHECK_LIBS) $(LIBS) -ldl

# A fuzzer links with libFuzzer under clang, and with replay.c to repeat its corpus under any
# compiler and sanitizer.
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZERS := $(FUZZ_NAMES:%=$(BUILD)/fuzzers/%)
REPLAYS := $(FUZZ_NAMES:%=$(BUILD)/replay/%)
$(FUZZERS): $(BUILD)/fuzzers/%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(call reverse,$(ARCHIVES))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(ALL_LDFLAGS) -o $@ $^ $(LIBS)
$(REPLAYS): $(BUILD)/replay/%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/replay.o $(call reverse,$(ARCHIVES))
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# Objects are kept, though only pattern rules name them.
.SECONDARY:

# Below: what people type. A part that needs packages installs those that lack, then starts make
# again, because this file was read before the compiler was there.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(JOBS))
AGAIN = $(MAKE) --no-print-directory $(PARALLEL)
TEST_ENV = KIST_BUILD='$(BUILD)' KIST_BIN='$(abspath $(BUILD))/kist' \
           KIST_CRASH_ROUNDS=$(CRASH_ROUNDS) KIST_SIM_ROUNDS=$(SIM_ROUNDS)
MEMORY_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
SUPPRESS := $(abspath scripts)

run: ## install what lacks, build, and serve on 127.0.0.1:9000 (ARGS=options)
	@scripts/setup build
	@$(AGAIN) all
	@exec $(BUILD)/kist serve --data "$${KIST_DATA:-kist-data}" $(ARGS)

test: ## install what lacks, build, and run the whole suite
	@scripts/setup build test
	@$(AGAIN) tests
	@KIST_BUILD='$(BUILD)' KIST_BIN='$(abspath $(BUILD))/kist' tests/run

tests: $(BUILD)/kist $(UNITS) $(SIMS) $(REPLAYS) ## build all that the suite runs

unit: $(UNITS) ## unit tests only
	@KIST_BUILD='$(BUILD)' tests/run unit

fuzz-regress: $(REPLAYS) ## the fuzzers' corpora, once
	@KIST_BUILD='$(BUILD)' tests/run fuzz

asan: ## the suite under AddressSanitizer and UndefinedBehaviorSanitizer
	@scripts/setup build test
	@$(AGAIN) BUILD=$(BUILD)/asan OPT='-O1 -g' SAN='$(MEMORY_SAN)' tests
	@ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1 \
	UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1 \
	LSAN_OPTIONS=suppressions=$(SUPPRESS)/lsan.supp:print_suppressions=0 \
	KIST_BUILD='$(BUILD)/asan' KIST_BIN='$(abspath $(BUILD))/asan/kist' tests/run --quick

# gcc's ThreadSanitizer library is older than clang's and knows less of libc. Neither knows threads
# that thrd_create() starts, as librdkafka does.
tsan: ## the suite under ThreadSanitizer
	@scripts/setup build test
	@$(AGAIN) BUILD=$(BUILD)/tsan CC=clang OPT='-O1 -g' SAN=-fsanitize=thread \
	  BROKERS='$(filter-out rdkafka,$(BROKERS))' tests
	@TSAN_OPTIONS=halt_on_error=1:abort_on_error=1:second_deadlock_stack=1:suppressions=$(SUPPRESS)/tsan.supp \
	KIST_BUILD='$(BUILD)/tsan' KIST_BIN='$(abspath $(BUILD))/tsan/kist' tests/run --quick

fuzz: ## every fuzzer for FUZZ_SECONDS (60), after its corpus
	@scripts/setup build test
	@$(AGAIN) BUILD=$(BUILD)/fuzz CC=clang OPT='-O1 -g' \
	  SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' fuzzers
	@KIST_BUILD='$(BUILD)/fuzz' scripts/fuzz $(FUZZ_SECONDS)

fuzzers: $(FUZZERS)

crash: ## kill -9 under load, CRASH_ROUNDS (300) times
	@scripts/setup build test
	@$(AGAIN) all
	@$(TEST_ENV) tests/run crash

sim: ## power loss: SIM_ROUNDS (2000) random workloads and cuts
	@scripts/setup build test
	@$(AGAIN) $(SIMS)
	@$(TEST_ENV) tests/run sim

bench: ## kist against nginx and the machine's raw limits, in one table
	@scripts/setup build bench
	@$(AGAIN) all $(BUILD)/unit/server/functions/test_runtime
	@$(TEST_ENV) tests/bench/run $(ARGS)

lint: ## layers, headers, sizes, banned functions, format, clang-tidy
	@scripts/setup build test
	@$(AGAIN) $(GEN)
	@BUILD='$(BUILD)' scripts/lint

format: ## clang-format over all sources
	@git ls-files '*.[ch]' | xargs clang-format -i

dev: ## build/dev/kist, unoptimised, with sanitizers
	@scripts/setup build
	@$(AGAIN) BUILD=$(BUILD)/dev OPT='-Og -g3' SAN='$(MEMORY_SAN)' all

install: all ## into DESTDIR and PREFIX (/usr/local): program, man page, systemd unit
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/man/man1' \
	        '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	install -m 755 $(BUILD)/kist '$(DESTDIR)$(PREFIX)/bin/kist'
	install -m 644 scripts/kist.1 '$(DESTDIR)$(PREFIX)/share/man/man1/kist.1'
	sed 's|@PREFIX@|$(PREFIX)|g' scripts/kist.service > $(BUILD)/kist.service
	install -m 644 $(BUILD)/kist.service '$(DESTDIR)$(PREFIX)/lib/systemd/system/kist.service'

uninstall: ## removes what install put there; data stays
	rm -f '$(DESTDIR)$(PREFIX)/bin/kist' '$(DESTDIR)$(PREFIX)/share/man/man1/kist.1' \
	      '$(DESTDIR)$(PREFIX)/lib/systemd/system/kist.service'

help: ## this list
	@echo 'make [target] [CC=clang] [BUILD=build]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16
	@echo '  all             build/kist (the default)'

clean: ## removes the build
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
