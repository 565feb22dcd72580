// own_method RUN [key=value]...: trains `inpaint` in the folder RUN with lacuna's loop; what is not given is
// the default.
#include <lacuna/core/error.h>
#include <lacuna/train/trainer.h>

#include <iostream>

int main(int argc, char** argv) {
  try {
    if (argc < 2)
      lacuna::fail("own_method", "no folder for the run is named", "write own_method RUN [key=value]...");
    auto config = std::make_unique<lacuna::train::RunConfig>("inpaint");
    for (int i = 2; i < argc; ++i) config->table.set_assignment(argv[i], "the command line");
    lacuna::train::Trainer(std::move(config), argv[1], /*resume=*/false).run();
  } catch (const lacuna::Error& error) {
    std::cerr << "own_method: " << error.what() << std::endl;
    return 2;
  }
}
