/** The translation-request interface for debugging. RISC-V IOMMU 1.0, "Debug support". */
import { REG } from '../../format/riscv/registers.ts'
import type { Registers } from './registers.ts'
import {
  REQUEST_DEBUG,
  REQUEST_EXECUTE,
  REQUEST_PRIVILEGED,
  REQUEST_WRITE,
  RESPONSE_SUCCESS,
  type RiscvResult,
} from './request.ts'
import type { Translator } from './translate.ts'

const CTL_PRIV = 1 << 1
const CTL_EXE = 1 << 2
const CTL_NW = 1 << 3
const CTL_HI_PV = 1 << 0
const CTL_GO = 1 << 0
const RESPONSE_FAULT = 1 << 0
const RESPONSE_S = 1 << 9

/** tr_req_ctl.Go/Busy was set: translates as an untranslated request, fills tr_response and clears the bit. */
export function debugTranslation(registers: Registers, translator: Translator): void {
  const low = registers.at(REG.tr_req_ctl)
  const high = registers.at(REG.tr_req_ctl + 4)
  const process = (high & CTL_HI_PV) !== 0 ? low >>> 12 : -1
  let flags = REQUEST_DEBUG
  if ((low & CTL_NW) === 0) flags |= REQUEST_WRITE
  if ((low & CTL_EXE) !== 0) flags |= REQUEST_EXECUTE
  if ((low & CTL_PRIV) !== 0) flags |= REQUEST_PRIVILEGED
  const response = translator.translate(
    high >>> 8,
    process,
    registers.at(REG.tr_req_iova + 4),
    registers.at(REG.tr_req_iova),
    flags,
  )
  putResponse(registers, response === RESPONSE_SUCCESS ? translator.result : null)
  registers.put(REG.tr_req_ctl, low & ~CTL_GO)
}

/** tr_response. A range of more than a page is coded in the PPN: ones below a zero below the page number. */
function putResponse(registers: Registers, result: RiscvResult | null): void {
  let low = RESPONSE_FAULT
  let high = 0
  if (result !== null) {
    const pages = result.sizeLog2 - 12
    const ones = pages === 0 ? 0 : 2 ** (pages - 1) - 1
    const pageHi = withOnes(result.hi >>> 12, pages - 32, ones / 4294967296)
    const pageLo = withOnes((result.hi << 20) | (result.lo >>> 12), pages, ones)
    low = (pageLo << 10) | (pages > 0 ? RESPONSE_S : 0) | (result.pbmt << 7)
    high = ((pageLo >>> 22) | (pageHi << 10)) & 0x3fffff
  }
  registers.put(REG.tr_response, low)
  registers.put(REG.tr_response + 4, high)
}

/** A word with its low `bits` bits (0 or fewer: none; 32 or more: all) replaced. */
function withOnes(word: number, bits: number, ones: number): number {
  if (bits <= 0) return word
  return bits >= 32 ? ones | 0 : (word & (-1 << bits)) | ones
}
