#include "lacuna/data/text_config.h"

namespace lacuna::data {

void TextConfig::fields(Fields& f) {
  f("tokenizer", tokenizer,
    "bytes: 256 bytes and <s>, </s>, [MASK]; else a tokenizer.json, a sentencepiece *.model, CLIP's merges, "
    "or a folder "
    "with one of them");
  f("add_begin", add_begin, "the vocabulary's begin token in front of each document");
  f("add_end", add_end, "its end token behind each document");
  f("rows", rows,
    "blocks: documents one behind the other, cut into blocks; documents: each for itself; dialogues: for "
    "fine-tuning; "
    "auto: dialogues where the data hold them, else blocks")
      .choices({"auto", "blocks", "documents", "dialogues"});
  f("dialogue_format", dialogue_format, "what stands around the turns of a dialogue")
      .choices({"plain", "chatml", "llama3"});
  f("dialogue_ratio", dialogue_ratio,
    "dialogues: share of a long answer that its masked copy hides; 0: no copies")
      .range(0, 1);
  f("dialogue_min_answer", dialogue_min_answer,
    "dialogues: tokens of the shortest answer that gets a masked copy")
      .range(1);
  f("vocab_multiple", vocab_multiple, "encoder.vocab_size is raised to a multiple of this").range(1);
}

}  // namespace lacuna::data
