//! CSI drivers and runtime classes: kinds whose rules are mostly defaults.

use serde_json::json;

use super::check::{Fill, Path, Read};
use super::{Rules, meta};
use crate::names;

pub(crate) static CSI_DRIVER: Rules = Rules {
    default: |object| {
        object.within("spec", |spec| {
            spec.fill("attachRequired", true);
            spec.fill("podInfoOnMount", false);
            spec.fill("storageCapacity", false);
            spec.fill("fsGroupPolicy", "ReadWriteOnceWithFSType");
            spec.fill("requiresRepublish", false);
            spec.fill("seLinuxMount", false);
            if spec.items("volumeLifecycleModes").is_empty() {
                spec.put("volumeLifecycleModes", json!(["Persistent"]));
            }
        });
    },
    ..Rules::PLAIN
};

pub(crate) static RUNTIME_CLASS: Rules = Rules {
    validate: |object, out| {
        out.required_name(&Path::new("handler"), object.text("handler"), names::dns1123_label);
        meta::labels(&object["scheduling"]["nodeSelector"], &Path::new("scheduling.nodeSelector"), out);
    },
    validate_update: |new, old, _, out| out.immutable(&Path::new("handler"), &new["handler"], &old["handler"]),
    ..Rules::PLAIN
};

/// Kinds with a spec whose generation counts, and nothing more to say.
pub(crate) static COUNTED: Rules = Rules { generation: true, ..Rules::PLAIN };
/// The same with a status.
pub(crate) static COUNTED_WITH_STATUS: Rules = Rules { generation: true, status: |_| json!({}), ..Rules::PLAIN };
