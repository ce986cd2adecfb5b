/** The driver over the RISC-V model. */
import { decode, encode, type Values, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { AD_FAULT, AD_SET, ptSpace } from '../../format/pt/format.ts'
import { newRoot } from '../../format/pt/mapper.ts'
import { riscvScheme } from '../../format/pt/riscv.ts'
import { CAPABILITIES, FULL_CAPABILITIES } from '../../format/riscv/registers.ts'
import { RiscvIommu } from '../../model/riscv/iommu.ts'
import type { RiscvOptions } from '../../model/riscv/options.ts'
import { TestSystem, testMemory } from '../common/system.suite.ts'
import { RiscvDriver, type RiscvDriverOptions } from './driver.ts'

export { PCIE, PLAIN, RW, TestDevice, TestProcess } from '../common/system.suite.ts'

/** An IOMMU that has everything but what is changed here. */
export function capabilities(changes: Partial<Values<typeof CAPABILITIES.fields>>): bigint {
  const full = decode(CAPABILITIES, wordsFromU64([FULL_CAPABILITIES]))
  return wordsToU64(encode(CAPABILITIES, { ...full, ...changes }))[0]!
}

export class System extends TestSystem<RiscvIommu, RiscvDriver> {
  /** Commands since the last `sent`, as `IOTINVAL.VMA`. */
  constructor(options: RiscvDriverOptions = {}, hardware: Partial<RiscvOptions> = {}) {
    const memory = testMemory()
    const model = new RiscvIommu(memory, hardware)
    super({
      memory,
      model,
      driver: new RiscvDriver(model, memory, options),
      processSpace(hardwareUpdates) {
        const { format, topDepth, inputBits, top } = riscvScheme('Sv48', { svpbmt: true, svrsw60t59b: true })
        const shape = { format, topDepth, inputBits }
        const updates = hardwareUpdates ? AD_SET : AD_FAULT
        return ptSpace({ ...shape, top, root: newRoot(memory, shape), outputLimit: 2 ** 56, accessed: updates, dirty: updates })
      },
    })
  }
}
