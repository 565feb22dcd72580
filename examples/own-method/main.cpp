// own_method RUN [key=value]...: trains absolute-mae in the folder RUN by lacuna's loop.
#include <lacuna/core/error.h>
#include <lacuna/train/trainer.h>
#include <iostream>

int main(int argc, char** argv) try {
  auto config = std::make_unique<lacuna::train::RunConfig>("absolute-mae");
  for (int i = 2; i < argc; ++i) config->table.set_assignment(argv[i], "the command line");
  lacuna::train::Trainer(std::move(config), argc > 1 ? argv[1] : "run", /*resume=*/false).run();
} catch (const lacuna::Error& error) {
  std::cerr << "own_method: " << error.what() << std::endl;
  return 2;
}
