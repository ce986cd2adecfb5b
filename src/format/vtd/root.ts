/** Root entries: which context table serves a bus. Intel VT-d 4.1, sections 9.1 and 9.2. */
import { addr, flag, layout } from '../../base/layout.ts'

/** Root entry of legacy mode: one context table for the 256 functions of a bus. */
export const ROOT_ENTRY = layout('root entry', 128, {
  P: flag(0, 'entry is present'),
  CTP: addr(63, 12, 'context table'),
})

/** Root entry of scalable mode: the lower table serves devices 0 to 15 of the bus, the upper one devices 16 to 31. */
export const SM_ROOT_ENTRY = layout('scalable-mode root entry', 128, {
  LP: flag(0, 'the lower half is present'),
  LCTP: addr(63, 12, 'context table of devices 0 to 15'),
  UP: flag(64, 'the upper half is present'),
  UCTP: addr(127, 76, 'context table of devices 16 to 31'),
})

/** Bytes of a root entry; a root table has 256 of them, one for each bus. */
export const ROOT_ENTRY_BYTES = 16
export const ROOT_P = 1
