//! Every format of the registry through the same tests, and the numbers that forks share.

use super::*;
