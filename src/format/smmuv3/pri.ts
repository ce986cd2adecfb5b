/** PRI queue entries, 16 bytes each: a PCIe page request as the SMMU hands it on. Arm IHI 0070, chapter 8. */
import { addr, flag, layout, uint } from '../../base/layout.ts'

export const PRI_BYTES = 16
export const PRI_WORDS = 4

/** Last without R and W, with a SubstreamID: a Stop Marker, which gets no response. */
export const PRI = layout('PRI', 128, {
  StreamID: uint(31, 0, 'StreamID'),
  SubstreamID: uint(51, 32, 'SubstreamID (PASID)'),
  Priv: flag(58, 'privileged access requested'),
  X: flag(59, 'execute access requested'),
  R: flag(60, 'read access requested'),
  W: flag(61, 'write access requested'),
  Last: flag(62, 'last request of the group'),
  SSV: flag(63, 'SubstreamID is valid'),
  PRGIndex: uint(72, 64, 'page request group'),
  Address: addr(127, 76, 'page'),
})
