/* A stand-in for libnvidia-ml.so.1 that tests load: SDTRAIN_STUB_NVML names how it behaves.
   ok: two GPUs, one at work. mig: utilisation, power and fan are not supported. mismatch, nodriver: init fails.
   flaky: from the third utilisation reading on "unknown error" until the library is started again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NO_DRIVER = 9, MISMATCH = 18, UNKNOWN = 999 };

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;

static int starts = 0, readings = 0, broken = 0;
static int cards[2] = {0, 1};

static int is(const char *mode) {
    const char *set = getenv("SDTRAIN_STUB_NVML");
    return strcmp(set ? set : "ok", mode) == 0;
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    if (is("mismatch")) return MISMATCH;
    if (is("nodriver")) return NO_DRIVER;
    starts++;
    broken = 0;
    return OK;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "stub error"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    *device = &cards[index];
    return OK;
}
int nvmlDeviceGetUUID(void *device, char *text, unsigned int size) {
    snprintf(text, size, "GPU-0000000%d-aaaa", *(int *)device);
    return OK;
}
int nvmlDeviceGetName(void *device, char *text, unsigned int size) {
    (void)device;
    snprintf(text, size, "NVIDIA H100 80GB HBM3");
    return OK;
}
int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    memory->total = 80ULL << 30;
    memory->used = *(int *)device ? 1ULL << 30 : 40ULL << 30;
    memory->free = memory->total - memory->used;
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *device, Utilization *load) {
    if (is("mig")) return NOT_SUPPORTED;
    if (is("flaky") && (++readings == 3 || broken)) {
        broken = 1;
        return UNKNOWN;
    }
    load->gpu = *(int *)device ? 0 : 97;
    load->memory = starts; /* how often the library was started */
    return OK;
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius) {
    (void)device, (void)sensor;
    *celsius = 61;
    return OK;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) {
    (void)device;
    *milliwatts = 320500;
    return is("mig") ? NOT_SUPPORTED : OK;
}
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned int *milliwatts) {
    (void)device;
    *milliwatts = 700000;
    return OK;
}
int nvmlDeviceGetFanSpeed(void *device, unsigned int *percent) {
    (void)device, (void)percent;
    return NOT_SUPPORTED;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *count, void *list) {
    (void)device, (void)list;
    *count = 0;
    return OK;
}
