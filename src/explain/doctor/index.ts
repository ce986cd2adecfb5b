/** Why shared virtual addressing is off. */
import { deviceAnswers, iommuAnswers, kernelAnswers } from './conditions.ts'
import { type Answer, Answers, type DeviceEvidence, type Evidence } from './contract.ts'

export type { Answer, DeviceEvidence, Evidence, IommuEvidence, Verdict } from './contract.ts'
export { joined, readText, type TextEvidence, type TextKind } from './evidence.ts'

/**
 * All conditions, answered from what is known.
 * @param device only this one (`0000:6a:01.0`); else all that have one of the capabilities that count.
 */
export function diagnose(evidence: Evidence, device: string | null = null): Answer[] {
  const candidates = evidence.devices.filter((one) => (device === null ? hasSome(one) : one.name === device))
  const iommus = evidence.iommus.flatMap((iommu) => iommuAnswers(iommu, evidence))
  const devices = candidates.flatMap(deviceAnswers)
  const missing = new Answers(device ?? 'devices')
  if (candidates.length === 0)
    missing.ask(
      'a device has ATS, PASID and PRI',
      null,
      evidence.devices.length > 0
        ? device === null
          ? 'none that was told shows one of these capabilities'
          : 'it was not among the devices that were told'
        : 'no devices were told',
      'give the output of lspci -vvv, run as root',
    )
  const nothing = new Answers('IOMMU')
  if (evidence.iommus.length === 0)
    nothing.ask(
      'there is an IOMMU that can do it',
      null,
      'no IOMMU was told of',
      'give a capture, or the kernel log from the boot on',
    )
  return [...nothing.list, ...iommus, ...kernelAnswers(evidence), ...missing.list, ...devices]
}

const hasSome = ({ pasid, pri, ats }: DeviceEvidence) => pasid !== null || pri !== null || ats !== null
