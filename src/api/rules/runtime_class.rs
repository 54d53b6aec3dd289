//! Runtime classes.

use super::check::{Path, Read};
use super::{Rules, meta, pod};
use crate::names;

pub(crate) static RULES: Rules = Rules {
    validate: |object, out| {
        out.required_name(&Path::new("handler"), object.text("handler"), names::dns1123_label);
        let at = Path::new("scheduling");
        meta::labels(&object["scheduling"]["nodeSelector"], &at.child("nodeSelector"), out);
        pod::tolerations(&object["scheduling"], &at, out);
    },
    validate_update: |new, old, _, out| out.immutable(&Path::new("handler"), &new["handler"], &old["handler"]),
    ..Rules::PLAIN
};
