/** Page requests. RISC-V IOMMU 1.0, "PCIe ATS Page Request handling". */
import { hi32, lo32 } from '../../base/u64.ts'
import { DC_TC, TC_DTF, TC_EN_ATS, TC_EN_PRI, TC_PRPR } from '../../format/riscv/contexts.ts'
import {
  CAUSE_ALL_DISALLOWED,
  CAUSE_TYPE_DISALLOWED,
  MESSAGE_PAGE_REQUEST,
  MESSAGE_PRG_RESPONSE,
  TTYP_MESSAGE,
} from '../../format/riscv/records.ts'
import { DDTP_BARE, DDTP_OFF } from '../../format/riscv/registers.ts'
import {
  deviceOf,
  PRG_FAILURE,
  PRG_INVALID,
  PRG_SUCCESS,
  type RiscvMessage,
  type RiscvPageRequest,
  responsePayload,
} from './messages.ts'
import { type PageRequestQueue, QUEUE_OVERFLOW, QUEUED } from './queues.ts'
import type { Translator, TranslatorParts } from './translate.ts'

/**
 * Takes a page request or stop marker.
 * @returns the response that the IOMMU itself gives; null when the request was queued, or needs none.
 */
export function handlePageRequest(
  parts: TranslatorParts,
  translator: Translator,
  queue: PageRequestQueue,
  request: RiscvPageRequest,
): RiscvMessage | null {
  const { mode } = parts.registers
  const device = deviceOf(request)
  const fault = (cause: number, dtf: boolean) => {
    const { process, privileged } = request
    const { faults } = parts
    if (faults.fill(cause, TTYP_MESSAGE, dtf, device, process, privileged, 0, MESSAGE_PAGE_REQUEST, 0, 0)) faults.push()
  }
  // "If the ddtp.iommu_mode is Bare or is Off, then the IOMMU cannot locate a device-context."
  if (mode === DDTP_OFF || mode === DDTP_BARE) {
    fault(mode === DDTP_OFF ? CAUSE_ALL_DISALLOWED : CAUSE_TYPE_DISALLOWED, false)
    return answer(request, mode === DDTP_OFF ? PRG_FAILURE : PRG_INVALID, false)
  }
  // Steps 1 to 5 of the translation process.
  const dcAt = translator.device(device, request.process)
  if (dcAt < 0) {
    fault(-dcAt, false)
    return answer(request, -dcAt === CAUSE_TYPE_DISALLOWED ? PRG_INVALID : PRG_FAILURE, false)
  }
  const tc = parts.devices.words[dcAt + DC_TC]!
  const prpr = (tc & TC_PRPR) !== 0
  if ((tc & TC_EN_PRI) === 0 || (tc & TC_EN_ATS) === 0) {
    fault(CAUSE_TYPE_DISALLOWED, (tc & TC_DTF) !== 0)
    return answer(request, PRG_INVALID, prpr)
  }
  const { process, privileged, execute, payload } = request
  const outcome = queue.push(device, process, privileged, execute, hi32(payload), lo32(payload))
  if (outcome === QUEUED) return null
  // No fault is recorded for what the queue could not take.
  return answer(request, outcome === QUEUE_OVERFLOW ? PRG_SUCCESS : PRG_FAILURE, prpr)
}

/** The response of the IOMMU itself: none to stop markers, nor to requests that are not the last of their group. */
function answer(request: RiscvPageRequest, code: number, prpr: boolean): RiscvMessage | null {
  const bits = lo32(request.payload)
  const last = (bits & 4) !== 0
  const stopMarker = last && (bits & 3) === 0
  if (!last || stopMarker) return null
  return {
    code: MESSAGE_PRG_RESPONSE,
    tag: 0,
    rid: request.rid,
    segment: request.segment,
    // "For Response Failure, if the Page Request had a PASID then the response is generated with a PASID", else as PRPR says.
    process: code === PRG_FAILURE || prpr ? request.process : -1,
    payload: responsePayload(request.rid, (bits >>> 3) & 0x1ff, code),
  }
}
