//! The rules that a schema alone cannot say, in CEL, each with the sentence that tells a person what would be right.
//!
//! Holds: one place for each rule; the API server and the standalone coordinator evaluate the same text.
//! Every message names its field. No expression relies on a field that may be absent without `has`.

use kube::core::Rule;

/// The form of a TCP port, 1 to 65535.
macro_rules! port {
    () => {
        "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
    };
}

/// A CEL rule, its message, and the field that the refusal names if it is not where the rule stands.
#[derive(Clone, Copy)]
pub(crate) struct Law {
    rule: &'static str,
    message: &'static str,
    field: Option<&'static str>,
}

impl From<Law> for Rule {
    fn from(law: Law) -> Self {
        let rule = Self::new(law.rule).message(law.message);
        match law.field {
            Some(field) => rule.field_path(field),
            None => rule,
        }
    }
}

/// A law about the value it stands at.
const fn law(rule: &'static str, message: &'static str) -> Law {
    Law {
        rule,
        message,
        field: None,
    }
}

/// A law about several fields, reported at one of them.
const fn law_at(field: &'static str, rule: &'static str, message: &'static str) -> Law {
    Law {
        rule,
        message,
        field: Some(field),
    }
}

// Group

pub(crate) const MIN_BELOW_MAX: Law = law_at(
    ".maxSize",
    "!has(self.maxSize) || self.minSize <= self.maxSize",
    "maxSize must not be below minSize: raise maxSize, lower minSize, or leave maxSize out for all members",
);
pub(crate) const TARGET_NEEDS_MANUAL: Law = law_at(
    ".targetSize",
    "!has(self.targetSize) || self.mode == 'Manual'",
    "targetSize is for mode Manual: set mode: Manual, or remove targetSize and let the autoscaler decide",
);
pub(crate) const MANUAL_NEEDS_TARGET: Law = law_at(
    ".mode",
    "self.mode != 'Manual' || has(self.targetSize)",
    "mode Manual needs targetSize: set targetSize to the number of machines that shall run",
);
pub(crate) const TARGET_IN_RANGE: Law = law_at(
    ".targetSize",
    "!has(self.targetSize) || (self.targetSize >= self.minSize && (!has(self.maxSize) || self.targetSize <= self.maxSize))",
    "targetSize must be from minSize to maxSize",
);
pub(crate) const LABEL_KEYS: Law = law(
    "self.all(key, key.matches('^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$'))",
    "template.labels must have keys of Kubernetes, like disk or topology.kubernetes.io/zone",
);
pub(crate) const LABEL_VALUE: Law = law(
    "self.matches('^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$')",
    "a value in template.labels must be up to 63 letters, digits, dots, dashes and underscores, like ssd",
);
pub(crate) const QUANTITY: Law = law(
    "string(self).matches('^[0-9]{1,18}([.][0-9]{1,9})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$')",
    "a value in template.capacity must be an amount like 4, 500m or 16Gi",
);
pub(crate) const THRESHOLD: Law = law(
    r"self.matches('^(0([.][0-9]{1,6})?|1([.]0{1,6})?|(100|[0-9]{1,2})%)$')",
    "must be a share of the machine: a quoted fraction from 0 to 1 like \"0.5\", or per cent like 50%",
);
pub(crate) const ONE_DAY: Law = law(
    "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) <= duration('24h')",
    "must be a duration of at most 24h in whole numbers with units, like 10m, 90s or 1h30m",
);
// The same as `LEAST_WAIT` of `group`.
pub(crate) const SECOND_TO_DAY: Law = law(
    "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",
    "must be a duration from 1s to 24h in whole numbers with units, like 15m or 1h30m: with none at all the autoscaler gives machines \
     back that still boot",
);
// Elsewhere the label would keep a Node from ever being ready to the autoscaler. The resources are those that it takes for GPUs.
pub(crate) const GPU_LABEL_NEEDS_GPU: Law = law_at(
    ".labels",
    "!has(self.labels) || !('homelab-autoscaler.dev/gpu' in self.labels) || (has(self.capacity) && self.capacity.exists(name, \
     name in ['nvidia.com/gpu', 'amd.com/gpu', 'gpu.intel.com/xe', 'habana.ai/gaudi', 'microsoft.com/directx']))",
    "template.labels has homelab-autoscaler.dev/gpu, which needs a GPU in template.capacity: declare nvidia.com/gpu, amd.com/gpu, \
     gpu.intel.com/xe, habana.ai/gaudi or microsoft.com/directx, or remove the label",
);
pub(crate) const PRICE: Law = law(
    "self.matches('^[0-9]{1,6}([.][0-9]{1,6})?$')",
    "perKWh must be a price as a quoted decimal number from 0, like \"0.32\"",
);
pub(crate) const TIME_ZONE: Law = law(
    "self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$')",
    "energy.timeZone must be the name of a zone of the IANA database, like Europe/Berlin or UTC",
);
pub(crate) const WINDOWS_NEED_ZONE: Law = law_at(
    ".timeZone",
    "!has(self.windows) || has(self.timeZone)",
    "energy.windows need energy.timeZone: say where their clock hangs, like Europe/Berlin",
);
pub(crate) const WINDOW_FROM: Law = law(
    "self.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",
    "from must be a quoted time of the day from \"00:00\" to \"23:59\", like \"22:00\"",
);
pub(crate) const WINDOW_TO: Law = law(
    "self.matches('^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$')",
    "to must be a quoted time of the day from \"00:00\" to \"24:00\", like \"06:00\"",
);
pub(crate) const WINDOW_HAS_LENGTH: Law = law_at(
    ".to",
    "self.from != self.to",
    "from and to of a window must differ: a whole day is from \"00:00\" to \"24:00\"",
);
pub(crate) const DAYS_ONCE: Law = law(
    ONCE,
    "days must name each day once, like [Saturday, Sunday]",
);

// Node

// The longest name that a command can be addressed to: `AgentId` of proto-mqtt.
pub(crate) const NAME: Law = law(
    "!has(self.metadata.name) || self.metadata.name.size() <= 63",
    "metadata.name must be at most 63 characters, because commands name the machine by it; a longer name of its core Node belongs into nodeName",
);
pub(crate) const NEEDS_A_WAY_TO_WAKE: Law = law(
    "has(self.wakeOnLAN) || has(self.redfish) || self.power in ['AlwaysOn', 'Unmanaged']",
    "wakeOnLAN or redfish is needed to wake this machine again: add wakeOnLAN.mac, or redfish.address with redfish.credentials, \
     or set power to AlwaysOn or Unmanaged",
);
pub(crate) const WAKE_IS_DECLARED: Law = law_at(
    ".wake",
    "!has(self.wake) || self.wake.all(method, method == 'redfish' ? has(self.redfish) : has(self.wakeOnLAN))",
    "wake names a method that is not declared: add the section redfish or wakeOnLAN, or remove its name from wake",
);
pub(crate) const STOP_IS_DECLARED: Law = law_at(
    ".stop",
    "!has(self.stop) || has(self.redfish) || self.stop.all(method, method != 'redfish')",
    "stop names redfish, which is not declared: add the section redfish, or remove its name from stop",
);
pub(crate) const GROUP_NAME: Law = law(
    SUBDOMAIN,
    "group must be the metadata.name of a Group: lower-case letters, digits, dashes and dots, like workers",
);
pub(crate) const NODE_NAME: Law = law(
    SUBDOMAIN,
    "nodeName must be the name of a core Node: lower-case letters, digits, dashes and dots, like nuc1",
);
pub(crate) const AGENT_ID: Law = law(
    SUBDOMAIN,
    "agent must be the id of an agent: lower-case letters, digits, dashes and dots, like nuc1",
);
pub(crate) const WAKE_ONCE: Law = law(
    ONCE,
    "wake must name each method once, like [redfish, wakeOnLAN]",
);
pub(crate) const STOP_ONCE: Law = law(
    ONCE,
    "stop must name each method once, like [agent, redfish]",
);
pub(crate) const PROVIDER_ID: Law = law(
    r"self.matches('^[a-z][a-z0-9+.-]*://[^[:space:]]+$')",
    "providerID must have the form scheme://rest without spaces, like k3s://nuc1",
);
pub(crate) const BOOT: Law = law(
    "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",
    "timeouts.boot must be a duration from 1s to 1h in whole numbers with units, like 10m or 90s",
);
pub(crate) const DRAIN: Law = law(
    "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')",
    "timeouts.drain must be a duration from 1s to 24h in whole numbers with units, like 10m or 90s",
);
pub(crate) const STOP: Law = law(
    "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",
    "timeouts.stop must be a duration from 1s to 1h in whole numbers with units, like 5m or 90s",
);
pub(crate) const OFF_HOLD: Law = law(
    "self.matches('^([0-9]{1,6}(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('10m')",
    "timeouts.offHold must be a duration from 1s to 10m in whole numbers with units, like 60s",
);
pub(crate) const MAC_FORM: Law = law(
    "self.matches('^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$') || self.matches('^([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}$')",
    "wakeOnLAN.mac must be six pairs of hexadecimal digits, like 1c:69:7a:0b:11:02",
);
// An odd first byte marks a group address, which no card owns.
pub(crate) const MAC_UNICAST: Law = law(
    "!self.matches('^.[13579BDFbdf]') && !self.matches('^[0:-]*$')",
    "wakeOnLAN.mac must be the address of one card, neither broadcast, multicast nor zero, like 1c:69:7a:0b:11:02",
);
pub(crate) const SEGMENT: Law = law(
    "self.matches('^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$')",
    "wakeOnLAN.segment must be the name of a LAN as relays declare it: letters, digits, dots, dashes and underscores, like default",
);
pub(crate) const PORTS_ONCE: Law = law(
    ONCE,
    "wakeOnLAN.ports must name each port once, like [9, 7]",
);
pub(crate) const BROADCAST: Law = law(
    "self.matches('^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$')",
    "wakeOnLAN.broadcast must be an IPv4 address, like 192.168.1.255",
);
pub(crate) const SECURE_ON: Law = law(
    "self.matches('^([0-9A-Fa-f]{2}:){3}(([0-9A-Fa-f]{2}:){2})?[0-9A-Fa-f]{2}$') \
     || self.matches('^([0-9A-Fa-f]{2}-){3}(([0-9A-Fa-f]{2}-){2})?[0-9A-Fa-f]{2}$')",
    "wakeOnLAN.secureOn must be four or six pairs of hexadecimal digits, like 01:02:03:04:05:06",
);
pub(crate) const ONE_TRUST: Law = law_at(
    ".ca",
    "!(has(self.fingerprint) && has(self.ca))",
    "redfish.fingerprint and redfish.ca exclude each other: keep the one that describes the BMC's certificate",
);
pub(crate) const ADDRESS: Law = law(
    concat!(
        r"self.matches(r'^https://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:",
        port!(),
        r")?/?$') || self.matches(r'^http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:",
        port!(),
        r")?/?$')",
    ),
    "redfish.address must be https:// with a host and perhaps a port, like https://10.0.9.20 (http:// only to this host itself)",
);
pub(crate) const CREDENTIALS: Law = law(
    RELAY_FILE,
    "redfish.credentials must be the name of credentials on the relay, letters, digits, dashes and underscores, like r720; passwords do not belong here",
);
pub(crate) const FINGERPRINT: Law = law(
    "self.matches('^sha256:([0-9A-Fa-f]{64}|([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2})$')",
    "redfish.fingerprint must be sha256: and 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` prints them",
);
pub(crate) const CA: Law = law(
    RELAY_FILE,
    "redfish.ca must be the name of a CA on the relay, letters, digits, dashes and underscores, like lab for lab.pem; the certificate itself does not belong here",
);

/// The form of names that become file names on the relay.
const RELAY_FILE: &str = "self.matches('^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$')";

/// The form of object names (RFC 1123 subdomain).
const SUBDOMAIN: &str =
    "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')";

/// No value twice.
const ONCE: &str = "self.all(one, self.exists_one(other, other == one))";
