/** The driver over the AMD model. */
import { decode, encode, type Values, wordsFromU64, wordsToU64 } from '../../base/layout.ts'
import { EXT_FEATURE, FULL_EXT_FEATURE, FULL_EXT_FEATURE2 } from '../../format/amdvi/registers.ts'
import { ptSpace } from '../../format/pt/format.ts'
import { newRoot } from '../../format/pt/mapper.ts'
import { x86Cpu } from '../../format/pt/x86.ts'
import { AmdIommu } from '../../model/amdvi/iommu.ts'
import type { AmdChoices } from '../../model/amdvi/options.ts'
import { TestSystem, testMemory } from '../common/system.suite.ts'
import { AmdDriver, type AmdDriverOptions } from './driver.ts'

export { PCIE, PLAIN, RW, TestDevice, TestProcess } from '../common/system.suite.ts'

/** An IOMMU that has everything but what is changed here. */
export function features(changes: Partial<Values<typeof EXT_FEATURE.fields>>): bigint {
  const full = decode(EXT_FEATURE, wordsFromU64([FULL_EXT_FEATURE]))
  return wordsToU64(encode(EXT_FEATURE, { ...full, ...changes }))[0]!
}

export class System extends TestSystem<AmdIommu, AmdDriver> {
  /** @param levels of the CPU's tables. */
  constructor(options: AmdDriverOptions = {}, hardware: AmdChoices = {}, levels: 4 | 5 = 4) {
    const memory = testMemory()
    const model = new AmdIommu(memory, { efr2: FULL_EXT_FEATURE2, ...hardware })
    super({
      memory,
      model,
      driver: new AmdDriver(model, memory, { largestDevice: 0xff, ...options }),
      // CPUs set A and D by hardware, always.
      processSpace() {
        const cpu = x86Cpu(levels)
        return ptSpace({ ...cpu, root: newRoot(memory, cpu) })
      },
    })
  }
}
