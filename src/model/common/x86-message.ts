/** Interrupt messages of x86 as they are when nothing remaps them. Intel SDM volume 3A, 11.11 "Message Signalled Interrupts"; AMD64 APM volume 2, 16. */
import { getBits } from '../../base/layout.ts'
import type { Interrupt } from '../iommu.ts'

/** What a message says by itself. @param low bits 31:0 of its address. */
export function unmappedInterrupt(low: number, data: number): Interrupt {
  const words = Int32Array.of(low, data)
  return {
    ok: true,
    remapped: false,
    vector: data & 255,
    destination: getBits(words, 19, 12),
    logical: getBits(words, 2, 2) === 1,
    deliveryMode: (data >>> 8) & 7,
    level: ((data >>> 15) & 1) === 1,
    posted: null,
  }
}
