// Sends a file to a group with NORM (RFC 5740), or receives what is sent: the program that libnorm does not have.
//
//   norm-cast receive INTERFACE FOLDER ID
//   norm-cast send INTERFACE FILE RECEIVERS MBITS DATA PARITY
//
// The sender ends once receivers 1 to RECEIVERS have acknowledged the file. A receiver gives each file its name, which
// comes as the object's information, when it is complete, and goes on until it is killed.

#include <normApi.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

const char *const GROUP = "239.77.4.1";
const UINT16 PORT = 6003;
const UINT16 SEGMENT = 1400;
const UINT32 BUFFER = 64u << 20;
const unsigned SOCKET_BUFFER = 8u << 20;

int fail(const char *what) {
    std::fprintf(stderr, "norm-cast: %s\n", what);
    return 1;
}

NormSessionHandle session_on(NormInstanceHandle instance, const char *interface, NormNodeId id) {
    NormSessionHandle session = NormCreateSession(instance, GROUP, PORT, id);
    NormSetMulticastInterface(session, interface);
    NormSetTTL(session, 1);
    NormSetGrttEstimate(session, 0.01);
    return session;
}

int receive(const char *interface, const std::string &folder, NormNodeId id) {
    NormInstanceHandle instance = NormCreateInstance();
    NormSetCacheDirectory(instance, folder.c_str());
    NormSessionHandle session = session_on(instance, interface, id);
    NormSetDefaultUnicastNack(session, true);
    if (!NormStartReceiver(session, BUFFER)) return fail("cannot receive");
    NormSetRxSocketBuffer(session, SOCKET_BUFFER);
    NormEvent event;
    while (NormGetNextEvent(instance, &event)) {
        if (event.type != NORM_RX_OBJECT_COMPLETED) continue;
        char name[256] = {};
        NormObjectGetInfo(event.object, name, sizeof name - 1);
        NormFileRename(event.object, (folder + "/" + name).c_str());
    }
    return 0;
}

int send(const char *interface, const std::string &file, NormNodeId receivers, double mbits, UINT16 data, UINT16 parity) {
    NormInstanceHandle instance = NormCreateInstance();
    NormSessionHandle session = session_on(instance, interface, 1000);
    NormSetTxRate(session, mbits * 1e6);
    NormSetGroupSize(session, receivers);
    for (NormNodeId id = 1; id <= receivers; id++) NormAddAckingNode(session, id);
    if (!NormStartSender(session, NormGetRandomSessionId(), BUFFER, SEGMENT, data, parity)) return fail("cannot send");
    NormSetTxSocketBuffer(session, SOCKET_BUFFER);
    const std::string name = file.substr(file.find_last_of('/') + 1);
    NormObjectHandle object = NormFileEnqueue(session, file.c_str(), name.data(), name.size());
    if (object == NORM_OBJECT_INVALID) return fail("cannot send the file");
    NormSetWatermark(session, object);
    NormEvent event;
    while (NormGetNextEvent(instance, &event)) {
        if (event.type != NORM_TX_WATERMARK_COMPLETED) continue;
        if (NormGetAckingStatus(session) == NORM_ACK_SUCCESS) return 0;
        // Somebody has not acknowledged yet: asks again.
        NormResetWatermark(session);
    }
    return fail("the library has ended");
}

} // namespace

int main(int count, char **words) {
    const std::string what = count > 1 ? words[1] : "";
    if (what == "receive" && count == 5) return receive(words[2], words[3], std::strtoul(words[4], nullptr, 10));
    if (what == "send" && count == 8) {
        auto number = [words](int at) { return std::strtoul(words[at], nullptr, 10); };
        return send(words[2], words[3], number(4), number(5), number(6), number(7));
    }
    return fail("usage: receive INTERFACE FOLDER ID | send INTERFACE FILE RECEIVERS MBITS DATA PARITY");
}
