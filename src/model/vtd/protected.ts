/** Protected memory regions: where no device reaches. Intel VT-d, section 11.4.8. */
import { toDouble } from '../../base/u64.ts'
import { REG } from '../../format/vtd/registers.ts'
import type { Registers } from './registers.ts'

/** Bits that the base registers lack are zeros, those that the limit registers lack are ones: regions of 2 MiB. */
const GRANULE = 2 ** 21 - 1

/** Whether a host physical address lies in a protected region. They are enabled (PMEN). */
export function isProtected(registers: Registers, hi: number, lo: number): boolean {
  const pa = toDouble(hi, lo)
  const region = (base: number, limit: number) => pa >= base && pa <= limit + GRANULE
  if (registers.cap('PLMR') === 1 && region(registers.at(REG.PLMBASE) >>> 0, registers.at(REG.PLMLIMIT) >>> 0)) return true
  const wide = (offset: number) => toDouble(registers.at(offset + 4), registers.at(offset))
  return registers.cap('PHMR') === 1 && region(wide(REG.PHMBASE), wide(REG.PHMLIMIT))
}
