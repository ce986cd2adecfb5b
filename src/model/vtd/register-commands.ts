/** Register-based invalidation: CCMD, IVA and IOTLB. Intel VT-d, sections 6.5.1 and 11.4.6. */
import { getNumber, setBits } from '../../base/layout.ts'
import { CCMD, IOTLB, IVA, REG, TTM_LEGACY } from '../../format/vtd/registers.ts'
import type { Caches } from './caches.ts'
import type { Registers } from './registers.ts'

/** What was done; 0: the request is wrong, and nothing was. */
const WRONG = 0
const GLOBAL = 1
const DOMAIN = 2
/** One device (CCMD), pages (IOTLB). */
const SELECTIVE = 3

/** CCMD was written with ICC. */
export function contextCommand(registers: Registers, caches: Caches): void {
  const at = REG.CCMD / 4
  const { words } = registers
  const field = (name: 'DID' | 'SID' | 'FM' | 'CIRG') => getNumber(words, CCMD.fields[name], at)
  let done = registers.ttm === TTM_LEGACY && !registers.queueing ? field('CIRG') : WRONG
  if (done === GLOBAL) caches.allContexts()
  else if (done === DOMAIN) caches.contextsOfDomain(field('DID'))
  else if (done === SELECTIVE) caches.contextsOfDevice(field('DID'), field('SID'), field('FM'))
  else done = WRONG
  setBits(words, CCMD.fields.CAIG.msb, CCMD.fields.CAIG.lsb, done, at)
  setBits(words, CCMD.fields.ICC.msb, CCMD.fields.ICC.lsb, 0, at)
}

/** IOTLB was written with IVT. */
export function iotlbCommand(registers: Registers, caches: Caches): void {
  const at = registers.iva / 4 + 2
  const { words } = registers
  const field = (name: 'DID' | 'IIRG') => getNumber(words, IOTLB.fields[name], at)
  let done = registers.ttm === TTM_LEGACY && !registers.queueing ? field('IIRG') : WRONG
  if (done === GLOBAL) caches.allTranslations()
  else if (done === DOMAIN) caches.translationsOfDomain(field('DID'))
  else if (done === SELECTIVE) {
    const log2 = getNumber(words, IVA.fields.AM, registers.iva / 4)
    if (log2 > registers.cap('MAMV')) done = WRONG
    else caches.pagesOfDomain(field('DID'), firstPage(words[registers.iva / 4 + 1]!, words[registers.iva / 4]!, log2), log2)
  } else done = WRONG
  setBits(words, IOTLB.fields.IAIG.msb, IOTLB.fields.IAIG.lsb, done, at)
  setBits(words, IOTLB.fields.IVT.msb, IOTLB.fields.IVT.lsb, 0, at)
}

/** Number of the first of 2^log2 pages around the address hi:lo: its low bits are masked. */
export function firstPage(hi: number, lo: number, log2: number): number {
  const page = (hi >>> 0) * 1048576 + (lo >>> 12)
  return page - (page % 2 ** log2)
}
